package eventflowdb.compatibility;

import java.io.BufferedReader;
import java.io.IOException;
import java.time.Duration;

/** The check that a client finds a server again that was ended and started meanwhile. */
final class Restart {

    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final Duration PAUSE = Duration.ofMillis(100);

    private final Client client;
    private final Output output;
    private final BufferedReader runner;

    /** @param runner gives a line when the server has been started again */
    Restart(Client client, Output output, BufferedReader runner) {
        this.client = client;
        this.output = output;
        this.runner = runner;
    }

    String run() throws Exception {
        long before;
        try {
            before = client.eventCount();
        } finally {
            awaitRestart();
        }
        return tryUntilAnswered(before);
    }

    private void awaitRestart() throws IOException {
        output.awaitRestart();
        CheckFailed.unless(runner.readLine() != null, "standard input ended");
    }

    private String tryUntilAnswered(long before) throws Exception {
        long start = System.nanoTime();
        for (int failures = 0; ; failures++) {
            try {
                long after = client.eventCount();
                CheckFailed.unless(after >= before, "EVENTCOUNT " + after + ", but " + before + " before");
                CheckFailed.unless(!isOver(start), "EVENTCOUNT answered only after " + since(start).toMillis() + " ms");
                var waited = since(start).toMillis();
                return "EVENTCOUNT " + after + " after " + waited + " ms, " + failures + " tries failed";
            } catch (CheckFailed failure) {
                throw failure;
            } catch (Exception failure) {
                if (isOver(start)) {
                    throw failure;
                }
                Thread.sleep(PAUSE.toMillis());
            }
        }
    }

    private static boolean isOver(long start) {
        return since(start).compareTo(PATIENCE) > 0;
    }

    private static Duration since(long start) {
        return Duration.ofNanos(System.nanoTime() - start);
    }
}
