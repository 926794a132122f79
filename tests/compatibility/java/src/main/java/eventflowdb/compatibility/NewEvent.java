package eventflowdb.compatibility;

/**
 * An event as given; Gson writes it.
 *
 * @param metadata null: left out
 */
record NewEvent(String type, String data, String metadata) {

    NewEvent(String type, String data) {
        this(type, data, null);
    }
}
