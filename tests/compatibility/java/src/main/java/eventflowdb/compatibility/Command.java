package eventflowdb.compatibility;

import java.nio.charset.StandardCharsets;

/** The commands that no Redis client knows in our meaning; a driver makes its library's custom commands of them. */
public enum Command {
    ADD,
    GET,
    GETALL,
    EVENTCOUNT;

    /** The word as it goes over the wire. */
    public byte[] bytes() {
        return name().getBytes(StandardCharsets.US_ASCII);
    }
}
