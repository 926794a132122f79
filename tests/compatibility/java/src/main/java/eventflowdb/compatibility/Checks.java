package eventflowdb.compatibility;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.UUID;

/** The checks of ../README.md on one client, but for the restart; each returns its detail, or throws what is wrong. */
final class Checks {

    /** Two, three and four bytes in UTF-8, what JSON must escape, and what some writers of JSON escape. */
    private static final String TEXT = "Grüße, 世界 🌍 \"quoted\" \\ \r\n\t\u0001\u007f\u2028 <&>";

    private static final int PAGED_EVENTS = 25;
    private static final int PAGE_LIMIT = 10;
    private static final int TOO_LARGE_BYTES = 2 * 1024 * 1024;
    private static final int PIPELINED_ADDS = 500;

    private final Client client;
    private final String stream = newStream();
    private List<String> added;

    Checks(Client client) {
        this.client = client;
    }

    String connect() throws Exception {
        CheckFailed.unlessEqual("PING", "PONG", client.ping());
        return "PONG";
    }

    String add() throws Exception {
        added = client.events(Request.add(stream, 0, new NewEvent("Größe", TEXT, TEXT), new NewEvent("Second", "")));
        var events = added.stream().map(RecordedEvent::of).toList();
        CheckFailed.unlessEqual("versions", List.of(0L, 1L), events.stream().map(RecordedEvent::version).toList());
        var first = events.get(0);
        CheckFailed.unlessEqual("first event", new RecordedEvent(first.id(), stream, 0, "Größe", TEXT, TEXT), first);
        var second = events.get(1);
        CheckFailed.unlessEqual("second event", new RecordedEvent(second.id(), stream, 1, "Second", "", null), second);
        return "2 events, versions 0 and 1";
    }

    String read() throws Exception {
        CheckFailed.unless(added != null, "ADD has given nothing to compare with");
        CheckFailed.unlessEqual("events", added, client.events(Request.get(stream)));
        return "2 events, as ADD answered them";
    }

    String page() throws Exception {
        var paged = newStream();
        var expected = new ArrayList<String>();
        for (int version = 0; version < PAGED_EVENTS; version++) {
            expected.addAll(client.events(Request.add(paged, version, new NewEvent("Paged", "number " + version))));
        }
        CheckFailed.unlessEqual("events added", PAGED_EVENTS, expected.size());
        var log = readWholeLog();
        var met = log.stream().filter(event -> RecordedEvent.of(event).stream().equals(paged)).toList();
        CheckFailed.unlessEqual("events of the stream in the log", expected, met);
        return PAGED_EVENTS + " events among the log's " + log.size();
    }

    String concurrency() throws Exception {
        var contested = newStream();
        client.events(Request.add(contested, 0, new NewEvent("First", "")));
        var late = expectRefusal("CONCURRENCY", Request.add(contested, 0, new NewEvent("Late", "")));
        var mistyped = expectRefusal("INVALIDARG", Request.add(contested, 1, new NewEvent("", "")));
        CheckFailed.unlessEqual("events in the stream", 1, client.events(Request.get(contested)).size());
        return "by the text's first word: " + late + "; " + mistyped;
    }

    String tooLarge() throws Exception {
        long before = client.connectionsMade();
        var tooLarge = Request.add(newStream(), 0, new NewEvent("Large", "x".repeat(TOO_LARGE_BYTES)));
        var refusal = expectRefusal("INVALIDARG", tooLarge);
        long count = client.eventCount();
        CheckFailed.unlessEqual("connections made meanwhile", 0L, client.connectionsMade() - before);
        return refusal + "; then EVENTCOUNT " + count + " without a new connection";
    }

    String pipeline() throws Exception {
        var written = newStream();
        var requests = new ArrayList<Request>();
        for (int version = 0; version < PIPELINED_ADDS; version++) {
            requests.add(Request.add(written, version, new NewEvent("Pipelined", "number " + version)));
            requests.add(Request.get(written, version, 1));
        }
        long start = System.nanoTime();
        var replies = client.pipeline(requests);
        long milliseconds = (System.nanoTime() - start) / 1_000_000;
        CheckFailed.unlessEqual("replies", requests.size(), replies.size());
        for (int version = 0; version < PIPELINED_ADDS; version++) {
            compareReplies(version, replies.get(2 * version), replies.get(2 * version + 1));
        }
        return requests.size() + " commands in " + milliseconds + " ms";
    }

    private static void compareReplies(long version, List<String> added, List<String> read) {
        var versions = added.stream().map(event -> RecordedEvent.of(event).version()).toList();
        CheckFailed.unlessEqual("versions answered to an ADD", List.of(version), versions);
        CheckFailed.unlessEqual("GET behind ADD of version " + version, added, read);
    }

    /** The log from its start to its end, page by page; no id stands in it twice. */
    private List<String> readWholeLog() throws Exception {
        var log = new ArrayList<String>();
        var ids = new HashSet<String>();
        String last = null;
        List<String> page;
        do {
            page = client.events(Request.getAll(last, PAGE_LIMIT));
            CheckFailed.unless(page.size() <= PAGE_LIMIT, "a page of " + page.size() + " events");
            for (var event : page) {
                last = RecordedEvent.of(event).id();
                CheckFailed.unless(ids.add(last), "id met twice: " + last);
            }
            log.addAll(page);
        } while (page.size() == PAGE_LIMIT);
        return log;
    }

    private Refusal expectRefusal(String code, Request request) throws Exception {
        List<String> events;
        try {
            events = client.events(request);
        } catch (Exception failure) {
            var text = client.refusal(failure).orElseThrow(() -> failure);
            var refusal = new Refusal(failure.getClass().getSimpleName(), text);
            CheckFailed.unless(refusal.code().equals(code), "expected " + code + ", got " + refusal);
            return refusal;
        }
        throw new CheckFailed("expected " + code + ", got " + events.size() + " events");
    }

    private static String newStream() {
        return UUID.randomUUID().toString();
    }
}
