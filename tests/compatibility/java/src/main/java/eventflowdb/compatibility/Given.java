package eventflowdb.compatibility;

/**
 * What the runner gives a driver in its environment.
 *
 * @param password empty: none is set
 * @param protocol what to ask the client for
 */
public record Given(String host, int port, String password, Protocol protocol) {

    public enum Protocol {
        /** Give the client no protocol option at all. */
        DEFAULT,
        RESP2,
        RESP3;

        String asked() {
            return switch (this) {
                case DEFAULT -> "default";
                case RESP2 -> "2";
                case RESP3 -> "3";
            };
        }

        static Protocol of(String word) {
            return switch (word) {
                case "default" -> DEFAULT;
                case "2" -> RESP2;
                case "3" -> RESP3;
                default -> throw new IllegalArgumentException("EVENTFLOWDB_RESP: default, 2 or 3, not " + word);
            };
        }
    }

    static Given fromEnvironment() {
        return new Given(
                variable("HOST", "127.0.0.1"),
                Integer.parseInt(variable("PORT", "6543")),
                variable("PASSWORD", ""),
                Protocol.of(variable("RESP", "default")));
    }

    public boolean hasPassword() {
        return !password.isEmpty();
    }

    private static String variable(String name, String absent) {
        return System.getenv().getOrDefault("EVENTFLOWDB_" + name, absent);
    }
}
