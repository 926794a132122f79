package eventflowdb.compatibility;

/**
 * An error reply.
 *
 * @param exception the class of exception that the library made of it
 */
record Refusal(String exception, String text) {

    private static final int TEXT_SHOWN_MAX = 100;

    /** The reply's first word. */
    String code() {
        return text.split(" ", 2)[0];
    }

    @Override
    public String toString() {
        var shown = text.length() > TEXT_SHOWN_MAX ? text.substring(0, TEXT_SHOWN_MAX) + "..." : text;
        return exception + " '" + shown + "'";
    }
}
