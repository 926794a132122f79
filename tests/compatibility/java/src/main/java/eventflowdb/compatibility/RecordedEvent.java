package eventflowdb.compatibility;

import com.google.gson.Gson;

/** An event as stored and returned; keys that are not named here are ignored. */
record RecordedEvent(String id, String stream, long version, String type, String data, String metadata) {

    private static final Gson GSON = new Gson();

    static RecordedEvent of(String json) {
        return GSON.fromJson(json, RecordedEvent.class);
    }
}
