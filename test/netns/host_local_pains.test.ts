/** What users of host-local suffer from, by the tags of docs/compatibility.md. */
import { describe, expect, test } from "vitest";
import { binDir, cni, cniOk, createSandbox, type Conf, type Sandbox } from "../helpers/cni.ts";
import { addressesIn, hostLocalConf } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const call = { bin: binDir(), plugin: "host-local" } as const;
const directory = "/var/lib/cni/networks/net1";
const bootId = "/proc/sys/kernel/random/boot_id";

/** Five addresses, from 10.0.0.2 on. */
const five = hostLocalConf({ ranges: [[{ subnet: "10.0.0.0/29" }]] }, { cniVersion: "1.1.0" });
const names = ["a", "b", "c", "d", "e"];

async function node(): Promise<Sandbox> {
  const sandbox = await createSandbox();
  await sandbox.addPod("pod1");
  return sandbox;
}

async function add(sandbox: Sandbox, containerId: string, conf: Conf = five): Promise<string> {
  const result = await cniOk(sandbox, { ...call, command: "ADD", containerId, conf });
  return addressesIn(result).join();
}

async function del(sandbox: Sandbox, containerId: string, conf: Conf = five): Promise<void> {
  await cniOk(sandbox, { ...call, command: "DEL", containerId, conf });
}

/** A node that has given all five addresses. */
async function fullNode(): Promise<Sandbox> {
  const sandbox = await node();
  for (const name of names) await add(sandbox, name);
  return sandbox;
}

/** Makes the plugins believe that the node has rebooted: the files are there, the pods are gone. */
async function reboot(sandbox: Sandbox): Promise<void> {
  await sandbox.sh(`
    cat /proc/sys/kernel/random/uuid > /run/boot_id.new
    cp /run/boot_id.new /run/boot_id.$(cat /run/boot_id.new)
    mount --bind /run/boot_id.$(cat /run/boot_id.new) ${bootId}
  `);
}

/** The addresses that have a file, and the file's content. */
async function reserved(sandbox: Sandbox): Promise<Record<string, string>> {
  const files = (await sandbox.list(directory)).filter((name) => name.startsWith("10."));
  const read = async (name: string): Promise<[string, string]> => [
    name,
    (await sandbox.readFile(`${directory}/${name}`)).split("\r\n")[0] ?? "",
  ];
  return Object.fromEntries(await Promise.all(files.map(read)));
}

describe.concurrent("H1 a reboot", () => {
  test("H1 frees all that was reserved before it", async () => {
    await using sandbox = await fullNode();
    expectError(await cni(sandbox, { ...call, command: "ADD", containerId: "f", conf: five }), 103);
    expectError(await cni(sandbox, { ...call, command: "STATUS", conf: five }), 51);
    await reboot(sandbox);
    await cniOk(sandbox, { ...call, command: "STATUS", conf: five });
    const given: string[] = [];
    for (const name of ["f", "g", "h", "a", "i"]) given.push(await add(sandbox, name));
    expect(given).toEqual(["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    expectError(await cni(sandbox, { ...call, command: "ADD", containerId: "j", conf: five }), 103);
    await reboot(sandbox);
    expect(await add(sandbox, "j")).toBe("10.0.0.2");
  });

  test("H1 frees nothing that the reference plugin has made", async () => {
    await using sandbox = await node();
    for (const name of ["a", "b"]) await add(sandbox, name);
    await sandbox.writeFile(`${directory}/10.0.0.4`, "theirs\r\neth0");
    for (const name of ["d", "e"]) await add(sandbox, name);
    const again = { ...call, command: "ADD", containerId: "f", conf: five } as const;
    expectError(await cni(sandbox, again), 103);
    await reboot(sandbox);
    for (const name of ["f", "g", "h", "i"]) await add(sandbox, name);
    expectError(await cni(sandbox, { ...again, containerId: "j" }), 103);
    expect(Object.values(await reserved(sandbox)).toSorted()).toEqual([
      "f",
      "g",
      "h",
      "i",
      "theirs",
    ]);
  });

  test("H1 is seen by every verb", async () => {
    await using sandbox = await node();
    const prevResult = await cniOk(sandbox, { ...call, command: "ADD", conf: five });
    const check = { ...call, command: "CHECK", conf: { ...five, prevResult } } as const;
    expect((await cni(sandbox, check)).code).toBe(0);
    for (const name of ["a", "b"]) await add(sandbox, name);
    await reboot(sandbox);
    expectError(await cni(sandbox, check), 105);
    await del(sandbox, "a");
    expect(await reserved(sandbox)).toEqual({ "10.0.0.2": "pod1", "10.0.0.4": "b" });
    await sandbox.writeFile(`${directory}/10.0.0.6`, "b\r\neth0");
    const valid = [{ containerID: "b", ifname: "eth0" }];
    const conf = { ...five, "cni.dev/valid-attachments": valid };
    await cniOk(sandbox, { ...call, command: "GC", conf });
    expect(await reserved(sandbox)).toEqual({ "10.0.0.6": "b" });
  });

  test("H1 leaves everything as it is where the boot cannot be told", async () => {
    await using sandbox = await fullNode();
    await sandbox.sh(`mount --bind /dev/null ${bootId}`);
    expectError(await cni(sandbox, { ...call, command: "ADD", containerId: "f", conf: five }), 103);
    await del(sandbox, "c");
    expect(await add(sandbox, "f"), "which makes no mark").toBe("10.0.0.4");
    await reboot(sandbox);
    for (const name of ["g", "h", "i", "j"]) await add(sandbox, name);
    expect(await reserved(sandbox)).toMatchObject({ "10.0.0.4": "f" });
  });
});

describe.concurrent("host-local", () => {
  test("H2 takes empty files back, which a crash has left", async () => {
    await using sandbox = await node();
    for (const [index, text] of ["", "\0\0\0", "\r\n", "", ""].entries()) {
      await sandbox.writeFile(`${directory}/10.0.0.${index + 2}`, text);
    }
    await cniOk(sandbox, { ...call, command: "STATUS", conf: five });
    const given: string[] = [];
    for (const name of names) given.push(await add(sandbox, name));
    expect(given).toEqual(["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    expectError(await cni(sandbox, { ...call, command: "ADD", containerId: "f", conf: five }), 103);
  });

  test("H2 gives an empty file's address where it is requested", async () => {
    await using sandbox = await node();
    await sandbox.writeFile(`${directory}/10.0.0.4`, "");
    const request = { ...call, command: "ADD", conf: five, args: "IP=10.0.0.4" } as const;
    expect(addressesIn(await cniOk(sandbox, request))).toEqual(["10.0.0.4"]);
  });

  test.for(["cni.dev/valid-attachments", "cni.dev/attachments"])(
    "H3 collects by %s, and touches neither the lock nor last_reserved_ip",
    async (key) => {
      await using sandbox = await node();
      for (const name of ["a", "b", "c"]) await add(sandbox, name);
      // Each has the content of a reservation that must be released.
      await sandbox.writeFile(`${directory}/lock`, "b\r\neth0");
      await sandbox.writeFile(`${directory}/last_reserved_ip.1`, "b\r\neth0");
      await sandbox.writeFile(`${directory}/10.0.0.6`, "");
      const conf = { ...five, [key]: [{ containerID: "b", ifname: "eth0" }] };
      await cniOk(sandbox, { ...call, command: "GC", conf });
      expect(await sandbox.list(directory)).toEqual([
        "10.0.0.3",
        "last_reserved_ip.0",
        "last_reserved_ip.1",
        "lock",
      ]);
      expect(await sandbox.readFile(`${directory}/lock`)).toBe("b\r\neth0");
      expect(await add(sandbox, "d"), "goes on after the last").toBe("10.0.0.5");
    },
  );

  test("H4 waits for the lock some seconds, and then says who holds it", async () => {
    await using sandbox = await node();
    await add(sandbox, "a");
    await sandbox.sh(`
      flock ${directory}/lock sleep 300 > /dev/null 2>&1 &
      timeout 10 sh -c 'while flock -n ${directory}/lock true; do sleep 0.05; done'
    `);
    const calls = ["ADD", "DEL"] as const;
    const answers = await Promise.all(
      calls.map(async (command) =>
        cni(sandbox, { ...call, command, containerId: command === "ADD" ? "b" : "a", conf: five }),
      ),
    );
    for (const answer of answers) {
      expectError(answer, 11);
      expect(answer.json?.msg).toMatch(/process \d+ \(flock\) has held it for 10 seconds/);
      expect(answer.ms).toBeLessThan(20_000);
    }
    // Without a reservation there is nothing to release.
    await del(sandbox, "nobody");
  });

  test("H5 gives the address that was released longest ago, also after coming round", async () => {
    await using sandbox = await node();
    const conf = hostLocalConf({ ranges: [[{ subnet: "10.0.0.0/28" }]] });
    // Round robin comes round once, past two pods that stay.
    for (const name of ["a", "b"]) await add(sandbox, name, conf);
    for (let n = 4; n <= 14; n++) {
      expect(await add(sandbox, `n${n}`, conf)).toBe(`10.0.0.${n}`);
      await del(sandbox, `n${n}`, conf);
    }
    // The next two in turn are released just then, the later one first.
    await del(sandbox, "b", conf);
    await del(sandbox, "a", conf);
    const given: string[] = [];
    for (let n = 0; n < 13; n++) given.push(await add(sandbox, `m${n}`, conf));
    const untouched = Array.from({ length: 11 }, (_, n) => `10.0.0.${n + 4}`);
    expect(given).toEqual([...untouched, "10.0.0.3", "10.0.0.2"]);
  });

  test("H5 remembers what was released while an address was in use", async () => {
    await using sandbox = await fullNode();
    for (const name of ["d", "b", "e"]) await del(sandbox, name);
    expect(await add(sandbox, "f")).toBe("10.0.0.5");
    await del(sandbox, "f");
    const given: string[] = [];
    for (const name of ["g", "h", "i"]) given.push(await add(sandbox, name));
    expect(given).toEqual(["10.0.0.3", "10.0.0.6", "10.0.0.5"]);
  });
});
