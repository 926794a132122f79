package eventflowdb.compatibility;

/** A client library of one version. */
public interface Library {

    String name();

    String version();

    /** A client with the library's default settings, apart from what is given. */
    Client connect(Given given) throws Exception;
}
