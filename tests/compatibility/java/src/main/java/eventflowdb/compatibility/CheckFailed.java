package eventflowdb.compatibility;

/** Something is not as a check expects it. */
final class CheckFailed extends RuntimeException {

    private static final long serialVersionUID = 1;

    CheckFailed(String message) {
        super(message);
    }

    static void unless(boolean isTrue, String message) {
        if (!isTrue) {
            throw new CheckFailed(message);
        }
    }

    static void unlessEqual(String what, Object expected, Object actual) {
        unless(expected.equals(actual), what + ": expected " + expected + ", got " + actual);
    }
}
