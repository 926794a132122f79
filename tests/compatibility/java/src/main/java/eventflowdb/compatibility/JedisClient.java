package eventflowdb.compatibility;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import redis.clients.jedis.BuilderFactory;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.Response;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.exceptions.JedisException;

/** Jedis's pooled client; custom commands go through its sendCommand. */
final class JedisClient implements Client {

    private final RedisClient client;
    private final String asked;

    JedisClient(Given given) {
        asked = given.protocol().asked();
        client = RedisClient.builder()
                .hostAndPort(given.host(), given.port())
                .clientConfig(settings(given))
                .build();
    }

    private static JedisClientConfig settings(Given given) {
        var settings = DefaultJedisClientConfig.builder();
        if (given.hasPassword()) {
            settings.password(given.password());
        }
        switch (given.protocol()) {
            case RESP2 -> settings.protocol(RedisProtocol.RESP2);
            case RESP3 -> settings.protocol(RedisProtocol.RESP3);
            case DEFAULT -> { }
        }
        return settings.build();
    }

    @Override
    public String resp() {
        try (var connection = client.getPool().getResource()) {
            return connection.getRedisProtocol().version();
        } catch (JedisException failure) {
            return asked;
        }
    }

    @Override
    public String ping() {
        return client.ping();
    }

    @Override
    public long eventCount() {
        return (Long) client.sendCommand(new Keyword(Command.EVENTCOUNT));
    }

    @Override
    public List<String> events(Request request) {
        return texts(client.sendCommand(new Keyword(request.command()), request.argument()));
    }

    @Override
    public List<List<String>> pipeline(List<Request> requests) {
        var responses = new ArrayList<Response<Object>>();
        try (var pipeline = client.pipelined()) {
            for (var request : requests) {
                responses.add(pipeline.sendCommand(new Keyword(request.command()), request.argument()));
            }
            pipeline.sync();
        }
        return responses.stream().map(response -> texts(response.get())).toList();
    }

    private static List<String> texts(Object reply) {
        return BuilderFactory.STRING_LIST.build(reply);
    }

    @Override
    public Optional<String> refusal(Exception failure) {
        return failure instanceof JedisDataException ? Optional.of(failure.getMessage()) : Optional.empty();
    }

    @Override
    public long connectionsMade() {
        return client.getPool().getCreatedCount();
    }

    @Override
    public void close() {
        client.close();
    }

    /** A command of ours as Jedis takes one that it does not know. */
    private record Keyword(Command command) implements ProtocolCommand {

        @Override
        public byte[] getRaw() {
            return command.bytes();
        }
    }
}
