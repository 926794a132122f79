package eventflowdb.compatibility;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Properties;
import redis.clients.jedis.RedisClient;

/** The driver of Jedis. */
public final class JedisDriver implements Library {

    /** The one place where Jedis tells its version. */
    private static final String PROPERTIES = "/META-INF/maven/redis.clients/jedis/pom.properties";

    public static void main(String[] arguments) {
        Driver.run(new JedisDriver());
    }

    @Override
    public String name() {
        return "jedis";
    }

    @Override
    public String version() {
        var properties = new Properties();
        try (var stream = RedisClient.class.getResourceAsStream(PROPERTIES)) {
            properties.load(stream);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
        return properties.getProperty("version");
    }

    @Override
    public Client connect(Given given) {
        return new JedisClient(given);
    }
}
