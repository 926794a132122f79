package eventflowdb.compatibility;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Runs all checks with one client, in the order of ../README.md; a failed one does not stop the next. */
public final class Driver {

    private final Output output;
    private final BufferedReader runner;

    private Driver(PrintStream output, BufferedReader runner) {
        this.output = new Output(output);
        this.runner = runner;
    }

    /** A driver's whole life; it ends the process with status 0, whatever the checks gave. */
    static void run(Library library) {
        var output = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        // Whatever a library prints must not come between the lines.
        System.setOut(System.err);
        var runner = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        new Driver(output, runner).runChecks(library, Given.fromEnvironment());
        System.exit(0);
    }

    private void runChecks(Library library, Given given) {
        try (var client = connect(library, given)) {
            var checks = new Checks(client);
            check("connect", checks::connect);
            check("add", checks::add);
            check("read", checks::read);
            check("page", checks::page);
            check("concurrency", checks::concurrency);
            check("too_large", checks::tooLarge);
            check("pipeline", checks::pipeline);
            check("restart", new Restart(client, output, runner)::run);
            output.done(library, client.resp());
        }
    }

    private static Client connect(Library library, Given given) {
        try {
            return library.connect(given);
        } catch (Exception failure) {
            return new Unconnected(failure, given.protocol().asked());
        }
    }

    private void check(String name, Check check) {
        String detail;
        try {
            detail = check.run();
        } catch (Exception failure) {
            output.check(name, false, Reason.of(failure));
            return;
        }
        output.check(name, true, detail);
    }

    @FunctionalInterface
    private interface Check {
        String run() throws Exception;
    }
}
