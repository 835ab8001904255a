/** A runtime whose kernel gives the answers of a test. */
import type { LastingSys } from "../../../../shared/runtime/sys.ts";

/** Makes a runtime from the parts that a test needs. Any other call throws. */
export function fakeSys(parts: Partial<LastingSys>): LastingSys {
  const sys: Partial<LastingSys> = { env: {}, ...parts };
  return new Proxy(sys, {
    get(known, name) {
      if (Reflect.has(known, name)) return Reflect.get(known, name) as unknown;
      throw new Error(`${String(name)} is not for this test`);
    },
  }) as LastingSys;
}

/** The kernel's side of a netlink socket. */
export class FakeNode {
  /** What was sent. */
  readonly sent: Buffer[] = [];
  /** The socket options that were set, as level, option and value. */
  readonly options: [level: number, option: number, value: string][] = [];
  readonly sockets: [domain: number, type: number, protocol: number][] = [];
  /** Datagrams to receive, or numbers for recv to return instead. */
  readonly #answers: (Buffer | number)[];
  readonly sys: LastingSys;

  constructor(answers: readonly (Buffer | number)[]) {
    this.#answers = [...answers];
    this.sys = fakeSys({
      socket: (...socket) => this.sockets.push(socket),
      setsockopt: (_, level, option, value) => {
        this.options.push([level, option, Buffer.from(value).toString("hex")]);
        return 0;
      },
      send: (_, data) => {
        this.sent.push(Buffer.from(data));
        return data.length;
      },
      recv: (_, into) => {
        const answer = this.#answers.shift();
        if (answer === undefined) throw new Error("the kernel has nothing more to say");
        if (typeof answer === "number") return answer;
        into.set(answer);
        return answer.length;
      },
    });
  }

  /** How many datagrams have not been received. */
  get unheard(): number {
    return this.#answers.length;
  }
}

/** Bytes in a test's notation. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}
