package eventflowdb.compatibility;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.LettuceFutures;
import io.lettuce.core.RedisChannelHandler;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisConnectionStateListener;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.StatefulRedisConnectionImpl;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.IntegerOutput;
import io.lettuce.core.output.ValueListOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import io.lettuce.core.protocol.ProtocolVersion;
import java.net.SocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;

/** One lettuce connection, which connects anew by itself; custom commands go through its dispatch. */
final class LettuceClient implements Client {

    private static final StringCodec CODEC = StringCodec.UTF8;

    private final AtomicLong connectionsMade = new AtomicLong();
    private final RedisClient client;
    private final StatefulRedisConnection<String, String> connection;

    LettuceClient(Given given) {
        client = RedisClient.create(address(given));
        askFor(given.protocol());
        client.addListener(new ConnectionCounter());
        connection = client.connect();
    }

    private static RedisURI address(Given given) {
        var address = RedisURI.builder().withHost(given.host()).withPort(given.port());
        if (given.hasPassword()) {
            address.withPassword(given.password().toCharArray());
        }
        return address.build();
    }

    private void askFor(Given.Protocol protocol) {
        switch (protocol) {
            case RESP2 -> client.setOptions(ClientOptions.builder().protocolVersion(ProtocolVersion.RESP2).build());
            case RESP3 -> client.setOptions(ClientOptions.builder().protocolVersion(ProtocolVersion.RESP3).build());
            case DEFAULT -> { }
        }
    }

    @Override
    public String resp() {
        var state = ((StatefulRedisConnectionImpl<?, ?>) connection).getConnectionState();
        return state.getNegotiatedProtocolVersion() == ProtocolVersion.RESP3 ? "3" : "2";
    }

    @Override
    public String ping() {
        return connection.sync().ping();
    }

    @Override
    public long eventCount() {
        return connection.sync().dispatch(new Keyword(Command.EVENTCOUNT), new IntegerOutput<>(CODEC));
    }

    @Override
    public List<String> events(Request request) {
        var keyword = new Keyword(request.command());
        return connection.sync().dispatch(keyword, new ValueListOutput<>(CODEC), argument(request));
    }

    @Override
    public List<List<String>> pipeline(List<Request> requests) throws Exception {
        var futures = new ArrayList<RedisFuture<List<String>>>();
        for (var request : requests) {
            var keyword = new Keyword(request.command());
            futures.add(connection.async().dispatch(keyword, new ValueListOutput<>(CODEC), argument(request)));
        }
        LettuceFutures.awaitAll(connection.getTimeout(), futures.toArray(RedisFuture[]::new));
        var replies = new ArrayList<List<String>>();
        for (var future : futures) {
            CheckFailed.unless(future.isDone(), "only " + replies.size() + " replies in " + connection.getTimeout());
            replies.add(future.get());
        }
        return replies;
    }

    private static CommandArgs<String, String> argument(Request request) {
        return new CommandArgs<>(CODEC).add(request.argument());
    }

    @Override
    public Optional<String> refusal(Exception failure) {
        return failure instanceof RedisCommandExecutionException ? Optional.of(failure.getMessage()) : Optional.empty();
    }

    @Override
    public long connectionsMade() {
        return connectionsMade.get();
    }

    @Override
    public void close() {
        connection.close();
        client.shutdown();
    }

    /** A command of ours as lettuce takes one that it does not know. */
    private record Keyword(Command command) implements ProtocolKeyword {

        @Override
        public byte[] getBytes() {
            return command.bytes();
        }

        @Override
        public String toString() {
            return command.name();
        }
    }

    private final class ConnectionCounter implements RedisConnectionStateListener {

        @Override
        public void onRedisConnected(RedisChannelHandler<?, ?> connection, SocketAddress address) {
            connectionsMade.incrementAndGet();
        }
    }
}
