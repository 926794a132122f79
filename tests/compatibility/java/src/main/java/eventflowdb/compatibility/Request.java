package eventflowdb.compatibility;

import com.google.gson.Gson;
import java.util.List;

/**
 * A command that is answered by events.
 *
 * @param argument a JSON object
 */
public record Request(Command command, String argument) {

    private static final Gson GSON = new Gson();

    static Request add(String stream, long version, NewEvent... events) {
        return new Request(Command.ADD, GSON.toJson(new Addition(stream, version, List.of(events))));
    }

    static Request get(String stream) {
        return new Request(Command.GET, GSON.toJson(new Reading(stream, null, null)));
    }

    static Request get(String stream, long version, int limit) {
        return new Request(Command.GET, GSON.toJson(new Reading(stream, version, limit)));
    }

    /** @param after the last id seen; null at the start of the log */
    static Request getAll(String after, int limit) {
        return new Request(Command.GETALL, GSON.toJson(new Page(after, limit)));
    }

    private record Addition(String stream, long version, List<NewEvent> events) {}

    private record Reading(String stream, Long version, Integer limit) {}

    private record Page(String after, int limit) {}
}
