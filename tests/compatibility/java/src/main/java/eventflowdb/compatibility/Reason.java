package eventflowdb.compatibility;

import java.util.ArrayList;

/** A failure in one line: its class and message, and those of its causes. */
final class Reason {

    private static final int CHARACTERS_MAX = 1000;
    private static final int CAUSES_MAX = 5;

    private Reason() {}

    static String of(Throwable failure) {
        var causes = new ArrayList<String>();
        for (var cause = failure; cause != null && causes.size() < CAUSES_MAX; cause = cause.getCause()) {
            var message = cause instanceof CheckFailed ? cause.getMessage() : cause.toString();
            causes.add(message);
        }
        var reason = String.join("; caused by ", causes);
        return reason.length() > CHARACTERS_MAX ? reason.substring(0, CHARACTERS_MAX) + "..." : reason;
    }
}
