package eventflowdb.compatibility;

import com.google.gson.JsonObject;
import java.io.PrintStream;

/** What a driver prints: one JSON object a line. */
final class Output {

    private final PrintStream stream;

    Output(PrintStream stream) {
        this.stream = stream;
    }

    void check(String name, boolean isOk, String detail) {
        var line = new JsonObject();
        line.addProperty("check", name);
        line.addProperty("ok", isOk);
        line.addProperty("detail", detail);
        print(line);
    }

    void awaitRestart() {
        var line = new JsonObject();
        line.addProperty("await", "restart");
        print(line);
    }

    void done(Library library, String resp) {
        var line = new JsonObject();
        line.addProperty("done", true);
        line.addProperty("client", library.name());
        line.addProperty("version", library.version());
        line.addProperty("resp", resp);
        print(line);
    }

    private void print(JsonObject line) {
        stream.println(line);
        stream.flush();
    }
}
