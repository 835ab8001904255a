import { describe, expect, it } from "vitest";
import type { PeerState } from "../../../../daemons/flanneld/peer_state.ts";
import type { PlannedChange } from "../../../../daemons/flanneld/planned_change.ts";
import { WireguardState } from "../../../../daemons/flanneld/wireguard_state.ts";
import { Secret } from "../../../../shared/base/secret.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import type { ListedPeer } from "../../../../shared/netlink/wireguard.ts";

const key = (byte: number): string => Buffer.alloc(32, byte).toString("base64");
const now = 1_000_000;

interface Parts {
  readonly key?: string;
  readonly subnet?: string;
  readonly at?: string;
  readonly psk?: Secret;
  readonly wasKnown?: boolean;
}

function peer(id: string, parts: Parts = {}): PeerState {
  const { at = "10.77.0.12", subnet = "10.244.2.0/24", psk, wasKnown = false } = parts;
  const address = parseAddress(at);
  return {
    peer: {
      ...{ id, subnet: parseCidr(subnet), publicIp: address },
      ...{ backendType: "wireguard", backendData: null },
    },
    objects: {
      ...{ vtepMac: undefined, gateway: undefined, link: "device" },
      wireguard: {
        ...{ publicKey: parts.key ?? key(2), presharedKey: psk, keepalive: 0 },
        endpoint: { address, port: 51820 },
      },
    },
    ...{ refusal: undefined, failure: undefined, wasKnown, wasProgrammed: false },
  };
}

/** What the kernel says of a peer. */
function listed(state: PeerState, parts: Partial<ListedPeer> = {}): ListedPeer {
  const { wireguard } = state.objects ?? {};
  if (wireguard === undefined) throw new Error("no peer of WireGuard");
  return { ...wireguard, allowed: [state.peer.subnet], lastHandshake: 0, ...parts };
}

const all = () => false;

function changes(state: WireguardState): PlannedChange[] {
  return [...state.missing(all), ...state.stale()];
}

function kinds(state: WireguardState): string[] {
  return changes(state).map(({ change }) => change.kind);
}

function stateWith(...wanted: PeerState[]): WireguardState {
  const state = new WireguardState("flannel-wg");
  state.learn(7, [], now);
  for (const owner of wanted) state.want(owner);
  return state;
}

it("sets a peer, once", () => {
  const n2 = peer("n2");
  const state = stateWith(n2);
  expect(state.isProgrammed(n2)).toBe(false);
  const [planned] = changes(state);
  expect(planned).toMatchObject({ owner: n2, change: { kind: "set-wireguard-peer", index: 7 } });
  planned?.made();
  expect([state.hasPending, state.isProgrammed(n2)]).toEqual([false, true]);
});

it("changes nothing of what is as wanted, whatever has happened between the peers", () => {
  const n2 = peer("n2", { psk: new Secret(Buffer.alloc(32, 5)) });
  const state = stateWith(n2);
  const present = listed(n2, { presharedKey: new Secret(Buffer.alloc(32, 5)) });
  for (const lastHandshake of [0, now - 10, now - 10_000]) {
    state.learn(7, [{ ...present, lastHandshake }], now);
    expect(state.hasPending).toBe(false);
  }
});

it("does nothing while there is no device, and all once there is one", () => {
  const n2 = peer("n2");
  const state = stateWith(n2);
  state.learn(7, [listed(n2)], now);
  state.learn(0, [], now);
  expect([state.isProgrammed(n2), changes(state)]).toEqual([false, []]);
  state.learn(8, [], now);
  expect(changes(state)[0]?.change).toMatchObject({ index: 8 });
});

describe("what is not as wanted", () => {
  const n2 = peer("n2");
  it.each([
    ["is gone", []],
    ["has another preshared key", [listed(n2, { presharedKey: new Secret(Buffer.alloc(32)) })]],
    ["is kept alive", [listed(n2, { keepalive: 25 })]],
    ["has no subnet", [listed(n2, { allowed: [] })]],
    ["has another subnet", [listed(n2, { allowed: [parseCidr("10.244.9.0/24")] })]],
    ["has all subnets", [listed(n2, { allowed: [n2.peer.subnet, parseCidr("0.0.0.0/0")] })]],
    ["has no endpoint", [listed(n2, { endpoint: undefined })]],
  ])("is set again: a peer that %s", (_, present) => {
    const state = stateWith(n2);
    state.learn(7, present, now);
    expect(kinds(state)).toEqual(["set-wireguard-peer"]);
  });

  it("is deleted: a peer that nobody wants", () => {
    const state = stateWith(n2);
    const strange = listed(peer("?", { key: key(9) }));
    state.learn(7, [listed(n2), strange], now);
    const [planned] = changes(state);
    expect(planned).toMatchObject({
      ...{ owner: undefined, change: { kind: "delete-wireguard-peer", publicKey: key(9) } },
    });
    planned?.made();
    expect(state.hasPending).toBe(false);
  });
});

describe("an address that a peer has moved to", () => {
  const endpoint = { address: parseAddress("192.0.2.1"), port: 4500 };

  it("stays while packets pass, and no longer", () => {
    const n2 = peer("n2");
    const state = stateWith(n2);
    state.learn(7, [listed(n2, { endpoint, lastHandshake: now - 179 })], now);
    expect(state.hasPending).toBe(false);
    state.learn(7, [listed(n2, { endpoint, lastHandshake: now - 181 })], now);
    expect(kinds(state)).toEqual(["set-wireguard-peer"]);
  });

  it("gives way to one that the peer announces", () => {
    const n2 = peer("n2");
    const state = stateWith(n2);
    state.learn(7, [listed(n2, { endpoint, lastHandshake: now })], now);
    state.release(n2);
    const moved = peer("n2", { at: "10.77.0.99" });
    state.want(moved);
    expect(kinds(state)).toEqual(["set-wireguard-peer"]);
  });
});

it("a peer with another key takes the place of the one before", () => {
  const n2 = peer("n2");
  const state = stateWith(n2);
  state.learn(7, [listed(n2)], now);
  state.release(n2);
  state.want(peer("n2", { key: key(3) }));
  expect(kinds(state)).toEqual(["set-wireguard-peer", "delete-wireguard-peer"]);
});

it("a node with both families is one peer", () => {
  const [n2, n2v6] = [peer("n2"), peer("n2", { subnet: "fd00:2::/64" })];
  const state = stateWith(n2, n2v6);
  const [planned, more] = changes(state);
  expect(more).toBeUndefined();
  expect(planned?.change).toMatchObject({
    peer: { allowed: expect.arrayContaining([n2.peer.subnet, n2v6.peer.subnet]) },
  });
  planned?.made();
  expect([state.isProgrammed(n2), state.isProgrammed(n2v6)]).toEqual([true, true]);
  state.release(n2);
  expect(changes(state)[0]?.change).toMatchObject({ peer: { allowed: [n2v6.peer.subnet] } });
  state.release(n2v6);
  expect(kinds(state)).toEqual(["delete-wireguard-peer"]);
});

it("a key belongs to one node", () => {
  const [n2, n2v6] = [peer("n2"), peer("n2", { subnet: "fd00:2::/64" })];
  const state = stateWith(n2);
  expect(state.rivalOf(n2v6)).toBeUndefined();
  expect(state.rivalOf(peer("n3", { subnet: "10.244.3.0/24" }))).toBe(n2);
  expect(state.rivalOf(peer("n3", { key: key(3) }))).toBeUndefined();
});

/** Whether a session begins with the peer. */
function begins(parts: Partial<PeerState>): boolean | undefined {
  const [planned] = changes(stateWith({ ...peer("n2"), ...parts }));
  return planned?.change.kind === "set-wireguard-peer" ? planned.change.begin : undefined;
}

it("begins a session with a node that has been reached in another way", () => {
  expect(begins({})).toBe(false);
  expect(begins({ wasKnown: true })).toBe(true);
  expect(begins({ wasKnown: true, wasProgrammed: true })).toBe(false);
});

it("leaves out a peer that rests", () => {
  const state = stateWith(peer("n2"));
  expect([...state.missing(() => true)]).toEqual([]);
});
