package eventflowdb.compatibility;

import io.lettuce.core.LettuceVersion;

/** The driver of lettuce. */
public final class LettuceDriver implements Library {

    public static void main(String[] arguments) {
        Driver.run(new LettuceDriver());
    }

    @Override
    public String name() {
        return "lettuce";
    }

    @Override
    public String version() {
        return LettuceVersion.getVersion().split("/")[0]; // behind the slash stands the commit
    }

    @Override
    public Client connect(Given given) {
        return new LettuceClient(given);
    }
}
