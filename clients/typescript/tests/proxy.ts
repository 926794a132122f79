/** A TCP proxy whose connections a test breaks. */

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** Passes bytes on to another address until they are cut. */
export class Proxy {
  readonly #server;
  readonly #sockets = new Set<Socket>();

  static async start(host: string, port: number): Promise<Proxy> {
    const proxy = new Proxy(host, port);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  private constructor(host: string, port: number) {
    this.#server = createServer((near) => {
      const far = connect(port, host);
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
        socket.pipe(other);
      }
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Break all connections, wherever they are. */
  cut(): void {
    this.#sockets.forEach((socket) => socket.resetAndDestroy());
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, "close");
  }
}
