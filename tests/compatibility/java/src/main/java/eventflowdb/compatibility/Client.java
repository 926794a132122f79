package eventflowdb.compatibility;

import java.util.List;
import java.util.Optional;

/**
 * What the checks ask of a client library: one client object, used as its users would.
 *
 * <p>A command that fails throws the library's own exception, as it comes.
 */
public interface Client extends AutoCloseable {

    /** What the client says that it speaks, "2" or "3"; else what it was asked to. */
    String resp();

    String ping() throws Exception;

    long eventCount() throws Exception;

    /** The answer's events, each as its JSON text. */
    List<String> events(Request request) throws Exception;

    /** All requests sent before the first answer is waited for; the answers in the order of the requests. */
    List<List<String>> pipeline(List<Request> requests) throws Exception;

    /** The text of the server's error reply, if that is what this failure reports. */
    Optional<String> refusal(Exception failure);

    /** How many connections the client has made so far. */
    long connectionsMade();

    @Override
    void close();
}
