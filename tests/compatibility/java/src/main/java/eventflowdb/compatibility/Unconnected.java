package eventflowdb.compatibility;

import java.util.List;
import java.util.Optional;

/**
 * Stands in for a client that could not be made: every command fails for that reason.
 *
 * @param asked the protocol that the client was asked to speak
 */
record Unconnected(Exception reason, String asked) implements Client {

    @Override
    public String resp() {
        return asked;
    }

    @Override
    public String ping() throws Exception {
        throw reason;
    }

    @Override
    public long eventCount() throws Exception {
        throw reason;
    }

    @Override
    public List<String> events(Request request) throws Exception {
        throw reason;
    }

    @Override
    public List<List<String>> pipeline(List<Request> requests) throws Exception {
        throw reason;
    }

    @Override
    public Optional<String> refusal(Exception failure) {
        return Optional.empty();
    }

    @Override
    public long connectionsMade() {
        return 0;
    }

    @Override
    public void close() {
        // There is nothing to close.
    }
}
