#!/usr/bin/env node
// Verifies tlog-evidence@v1 bundles offline, in JavaScript with nothing but Node.js 24 or newer. It is written from
// specs/evidence.md and the C2SP texts alone: where another verifier disagrees, one is wrong or the text is unclear.
//
//   echo '{"File": "x.tlog-evidence", "Keys": ["log.example/one+b04fa64c+ASA6…"]}' | evidence.mjs
//
// A question is a line of JSON with a File (or the Bundle itself, in base64), the trusted Keys, and if wanted the text
// of a Policy and the Origin that is asked about. Each is answered by a line. The worst answer is the exit status:
// 0: proven, 1: not proven, 2: malformed, 3: what is trusted or asked cannot be read.

import { isUtf8 } from "node:buffer";
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const [UNPROVEN, MALFORMED, UNUSABLE] = [1, 2, 3];

function check(holds, exit, reason) {
  if (!holds) throw Object.assign(new Error(reason), { exit });
}

const joined = (parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const sha256 = (...parts) => createHash("sha256").update(joined(parts)).digest();

// Section 2: the bundle. Hashes are kept in hexadecimal, whose order is that of the bytes; numbers as BigInt.

const OCTET = "[^\\x00-\\x1f]";
const DECIMAL = "(?:0|[1-9][0-9]{0,18})";
const HASH = "[A-Za-z0-9+/]{43}=";
const PATH = `(?:hash ${HASH}\\n)`;
const OPENED = `level ${DECIMAL}\\nindex ${DECIMAL}\\n(?:node ${HASH}\\n${PATH}{0,64}){2}`;
const LINE = "— [^+\\p{White_Space}\\x00-\\x1f]+ [A-Za-z0-9+/]+={0,2}\\n";
const ROOT = `(?<root>${HASH})\\n`;
const TEXTS = {
  checkpoint: `(?<size>${DECIMAL})\\n${ROOT}(?<extensions>(?:${OCTET}+\\n)*)`,
  subtree: `(?<place>(?<start>${DECIMAL}) (?<size>${DECIMAL}))\\n${ROOT}`,
  rotation: `(?<place>rotate (?<number>${DECIMAL}))\\nnew (?<next>${OCTET}+)\\ncutoff (?<size>${DECIMAL}) ${ROOT}`,
};
const noteOf = (kind) => `${OCTET}+\\n${TEXTS[kind].replace(/\?<\w+>/g, "?:")}\\n(?:${LINE}){1,100}`;
const pair = (header, kind) => `(?<header>${header})\\n(?<A>${noteOf(kind)})--\\n(?<B>${noteOf(kind)})`;
const BARE = "(?:(?:cosigner-)?same-size|(?:log|cosigner)-rollback|quorum-split)\\n";
const PREFIXED = `(?:(?:cosigner-)?non-consistent|quorum-split)\\nroot ${HASH}\\n${PATH}{1,64}`;
const ONE = `(?<header>bad-empty-head\\n)\\n(?<A>${noteOf("checkpoint")})`;
const TWO = pair(`${BARE}|openings\\n${OPENED}|${PREFIXED}`, "checkpoint");
const OTHER = `${pair("subtree\\n", "subtree")}|${pair("rotation\\n", "rotation")}`;
const BUNDLE = new RegExp(`^tlog-evidence@v1\\ntype (?:${ONE}|${TWO}|${OTHER})$`, "u");

function parse(raw) {
  check(raw.length <= 204800 && isUtf8(raw), MALFORMED, "more than 204,800 bytes, or not UTF-8");
  const { header, A, B } = BUNDLE.exec(raw.toString())?.groups ?? {};
  check(header, MALFORMED, "not the grammar of a bundle");
  const [type, ...fields] = header.trimEnd().split("\n");
  const bundle = { type, claims: [], notes: [A, B].filter((raw) => raw).map((raw) => parseNote(raw, type)) };
  for (const [name, value] of fields.map((field) => field.split(" "))) {
    if (name === "level" || name === "index") bundle[name] = parseDecimal(value);
    else if (name === "hash") bundle.claims.at(-1).push(parseHash(value));
    else bundle.claims.push([parseHash(value)]); // of a root or a node; the hashes of its path follow
  }
  return bundle;
}

function parseNote(all, type) {
  const [text, signatures] = all.split("\n\n");
  const grammar = `^(?<origin>${OCTET}+)\\n${TEXTS[type] ?? TEXTS.checkpoint}$`;
  const said = new RegExp(grammar, "u").exec(`${text}\n`).groups;
  check(Buffer.byteLength(all) <= 98304 && Buffer.byteLength(said.origin) <= 255, MALFORMED, "a note is too long");
  const lines = signatures.trimEnd().split("\n").map(parseLine);
  const [start, size, number] = [said.start ?? "0", said.size, said.number ?? "1"].map(parseDecimal);
  check(number && (!said.start || start < size), MALFORMED, "a part without entries, or the number 0");
  return { ...said, text: `${text}\n`, start, size, number, root: parseHash(said.root), lines };
}

function parseLine(line) {
  const [, name, base64] = line.split(" ");
  const blob = parseBase64(base64, MALFORMED);
  check(blob.length >= 5, MALFORMED, "a signature of less than 5 bytes");
  return { name, id: blob.toString("hex", 0, 4), body: blob.subarray(4) };
}

function parseBase64(text, exit) {
  const value = Buffer.from(text, "base64");
  check(value.toString("base64") === text, exit, "base64");
  return value;
}

const parseHash = (text) => parseBase64(text, MALFORMED).toString("hex");

function parseDecimal(text) {
  check(BigInt(text) < 1n << 63n, MALFORMED, "a number above 2^63 - 1");
  return BigInt(text);
}

// Section 3: trusted input. SPKI is what stands before a raw public key of a type in its SubjectPublicKeyInfo.

const [ED25519, ML_DSA_44] = ["302a300506032b6570032100", "30820532300b06096086480165030403110382052100"];
const SPKI = { 1: ED25519, 2: "", 4: ED25519, 5: "", 6: ML_DSA_44 };

function parseKey(vkey) {
  const [, name, id, base64] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(vkey) ?? [];
  const value = parseBase64(base64 ?? "", UNUSABLE);
  const [type, raw] = [value[0], value.subarray(1)];
  check(type in SPKI, UNUSABLE, "not a vkey, or one of an unknown type");
  const named = { 2: [raw], 5: [name, "\n\x05", sha256(raw)] }[type] ?? [name, "\n", value];
  check(sha256(...named).toString("hex", 0, 4) === id, UNUSABLE, "a key ID");
  const key = Buffer.concat([Buffer.from(SPKI[type], "hex"), raw]);
  return { vkey, name, id, type, key: createPublicKey({ key, format: "der", type: "spki" }) };
}

function parsePolicy(text) {
  const lines = text.split("\n").map((line) => line.split(/[ \t]+/).filter((word) => word));
  const policy = lines.filter(([first]) => first && !first.startsWith("#"));
  const least = { log: 2, witness: 3, group: 4, quorum: 2 };
  check(policy.every((words) => words.length >= least[words[0]]), UNUSABLE, "a line of the policy");
  return policy;
}

// trusted returns the keys that speak about an origin: logs, which are marked so, and cosigners.
function trusted({ Keys, Origin }, policy, origin) {
  const isLog = ({ type, name }) => type !== 4 && (type !== 6 || name === origin);
  const given = Keys.map(parseKey).map((key) => ({ ...key, log: isLog(key) }));
  const listed = (kind, at) => policy.filter(([word]) => word === kind).map((words) => parseKey(words[at]));
  const all = [
    ...given.filter((key) => !key.log || Origin != null || key.name === origin),
    ...listed("log", 1).flatMap((key) => (key.name === origin ? { ...key, log: true } : [])),
    ...listed("witness", 2).filter((key) => key.type !== 6 || key.name !== origin),
  ];
  const twins = (a, b) => a.name === b.name && a.id === b.id && a.vkey !== b.vkey;
  check(!all.some((a) => all.some((b) => twins(a, b))), UNUSABLE, "two keys of one name and key ID");
  return all;
}

// Section 4: verification.

function judge(question) {
  const bundle = parse(question.File ? readFileSync(question.File) : Buffer.from(question.Bundle, "base64"));
  const [type, origin, split] = [bundle.type, bundle.notes[0].origin, bundle.type === "quorum-split"];
  check(bundle.notes.every((note) => note.origin === (question.Origin ?? origin)), UNPROVEN, "another origin");
  const policy = parsePolicy(question.Policy ?? "");
  const keys = trusted(question, policy, origin).filter(SIGNS[type] ?? (() => true));
  const sides = bundle.notes.map((note) => open(note, keys, split));
  const judged = choose(type, sides);
  check(contradicts(bundle), UNPROVEN, "the statements do not contradict each other in this way");
  const [A, B] = split ? sides.map((side) => parties(policy, origin, side)) : [[], []];
  const said = judged.map(({ note, time }) => states(type, note, time)).sort(compare);
  const Statements = said.map((one) => one.map((value) => value.toString(Buffer.isBuffer(value) ? "base64" : 10)));
  const verdict = { Type: type, Accused: judged[0].vkey, Origin: origin, Statements };
  const ID = sha256(pack([type, verdict.Accused, origin, said])).toString("hex");
  return { ...verdict, Parties: A.filter((name) => B.includes(name)), ID };
}

// Which keys are asked about what is no checkpoint.
const SIGNS = { subtree: ({ log, type }) => !log && type === 6, rotation: ({ log, type }) => log && type <= 2 };

function states(type, { start, size, number, next, root }, time) {
  const hash = Buffer.from(root, "hex");
  return { subtree: [start, size, hash], rotation: [number, next, size, hash] }[type] ?? [size, hash, time];
}

// compare orders texts by their bytes, and statements by the first elements that differ.
function compare(one, other) {
  if (Array.isArray(one)) return one.map((value, i) => compare(value, other[i])).find((order) => order) ?? 0;
  return typeof one === "bigint" ? Number(one - other) : Buffer.compare(Buffer.from(one), Buffer.from(other));
}

// open returns the trusted keys that signed a note, each with the note and the time.
function open(note, keys, every) {
  const signed = new Map();
  for (const { name, id, body } of note.lines) {
    const key = keys.find((key) => key.name === name && key.id === id);
    const fresh = key && !signed.has(key);
    check(fresh || !every, UNPROVEN, "a line by a key that is not trusted, or a second line of one key");
    if (fresh) signed.set(key, { ...key, note, time: openLine(note, key, body) });
  }
  check(signed.size, UNPROVEN, "nobody who is trusted signed");
  return [...signed.values()];
}

const number = (value) => Buffer.from(value.toString(16).padStart(16, "0"), "hex");
const short = (text) => joined([[Buffer.byteLength(text)], text]);

// openLine is section 4.4: it verifies what the key's type signs, and returns the time in the signature.
function openLine({ text, origin, extensions, place, start, size, root }, { type, name, key }, body) {
  const tree = [number(size), Buffer.from(root, "hex")];
  check(body.length > 12, UNPROVEN, "a signature is too short");
  const time = type >= 4 ? body.readBigUInt64BE() : 0n;
  check(time < 1n << 63n && !(place && time) && (type < 5 || !extensions), UNPROVEN, "a time, or extension lines");
  const message = {
    4: [`cosignature/v1\ntime ${time}\n${text}`],
    5: [[0, 1], number(time), ...tree],
    6: ["subtree/v1\n\0", short(name), number(time), short(origin), number(start), ...tree],
  }[type] ?? [text];
  const signature = body.subarray({ 4: 8, 5: 12, 6: 8 }[type]);
  const framed = name === origin && body.readUInt32BE(8) === 0x04030000 + signature.length;
  const right = { 2: true, 5: framed, 6: true }[type] ?? !LOW_ORDER.includes(yOf(signature));
  const good = right && verify(type === 2 || type === 5 ? "sha256" : null, joined(message), key, signature);
  check(good, UNPROVEN, "a trusted key's signature does not verify");
  return time;
}

// The y of the points of low order, in their canonical encodings: OpenSSL accepts them as R.
const LOW_ORDER = [
  ...["00".repeat(32), `01${"00".repeat(31)}`, `ec${"ff".repeat(30)}7f`],
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];
const yOf = (signature) => Buffer.of(...signature.subarray(0, 31), signature[31] & 0x7f).toString("hex");

// choose is section 4.1: the accused's signature of A, and the one of B that stands beside it.
function choose(type, sides) {
  const [cosigner, rollback] = [type.startsWith("cosigner-") || type === "subtree", type.endsWith("-rollback")];
  const [A, B] = sides.map((side) => side.filter(({ log }) => !log === cosigner));
  check(A.length && B?.length !== 0, UNPROVEN, "nobody signed who could be accused of this");
  if (!B) return [A[0]];
  const one = (a) => (b) => b.vkey === a.vkey && (!rollback || (0n < a.time && a.time < b.time));
  const [both] = A.flatMap((a) => B.filter(one(a)).map((b) => [a, b]));
  check(both || !(cosigner || rollback || type === "rotation"), UNPROVEN, "no one key signed both");
  return both ?? [A[0], B[0]];
}

// contradicts is section 4.2, and the order of section 2.2 with it.
function contradicts({ type, level, index, claims, notes: [A, B] }) {
  if (type === "bad-empty-head") return A.size === 0n && A.root !== sha256().toString("hex");
  if (type.endsWith("-rollback")) return A.size > B.size;
  if (A.place) return A.place === B.place && compare(A.text, B.text) < 0;
  const [sameSize, grows, [first, second]] = [A.size === B.size && A.root < B.root, A.size < B.size, claims];
  if (type === "openings") {
    const under = (size, claim) => index < size >> level && climb(index, (size - 1n) >> level, claim)[1];
    if (!(sameSize || grows) || first[0] === second[0]) return false;
    return under(A.size, first) === A.root && under(B.size, second) === B.root;
  }
  if (!first) return sameSize;
  if (!grows || A.size === 0n || first[0] === A.root) return false;
  const shift = BigInt(/0*$/.exec(A.size.toString(2))[0].length); // the ones that m - 1 ends with, in base two
  const path = first.slice(A.size === 1n << shift ? 0 : 1);
  const [from, to] = climb((A.size - 1n) >> shift, (B.size - 1n) >> shift, path);
  return from === first[0] && to === B.root;
}

const node = (left, right) => sha256([1], Buffer.from(left + right, "hex")).toString("hex");

// climb is the loop of fold and of node_root: the two roots, of which an inclusion proof has the second.
function climb(fn, sn, [start, ...path]) {
  let [a, b] = [start, start];
  for (const c of path) {
    if (sn === 0n) return [];
    if (fn & 1n || fn === sn) {
      [a, b] = [node(c, a), node(c, b)];
      for (; !(fn & 1n) && fn; fn >>= 1n) sn >>= 1n;
    } else b = node(b, c);
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n ? [a, b] : [];
}

// parties is section 4.3: the key names that count for a note, which reaches the quorum.
function parties(policy, origin, side) {
  const [met, names] = [new Set(["none"]), new Set()];
  let reached = false;
  for (const [word, name, third, ...members] of policy) {
    const signed = (one) => one.vkey === third && one.time > 0n && one.name !== origin;
    if (word === "witness" && side.some(signed)) {
      met.add(name);
      names.add(third.split("+")[0]);
    } else if (word === "group") {
      const least = { any: 1, all: members.length }[third] ?? Number(third);
      check(1 <= least && least <= members.length, UNUSABLE, "a group of the policy");
      if (members.filter((member) => met.has(member)).length >= least) met.add(name);
    } else if (word === "quorum") reached = met.has(name);
  }
  check(reached, UNPROVEN, "a quorum was not reached");
  return [...names].sort(compare);
}

// Section 5: the id. pack writes MessagePack.

function pack(value) {
  if (Array.isArray(value)) return joined([[0x90 | value.length], ...value.map(pack)]);
  if (Buffer.isBuffer(value)) return joined([[0xc4, value.length], value]);
  if (typeof value === "string") return joined([packNumber(BigInt(Buffer.byteLength(value)), 0xa0, 32n, 0xd9), value]);
  return packNumber(value, 0, 128n, 0xcc);
}

// packNumber takes one byte of its own below a limit, else follows the code that says how many bytes it takes.
function packNumber(value, small, below, code) {
  if (value < below) return [small | Number(value)];
  const step = [8n, 16n, 32n, 64n].findIndex((bits) => value < 1n << bits);
  return joined([[code + step], number(value).subarray(8 - (1 << step))]);
}

function answer(question) {
  try {
    return { Exit: 0, Verdict: judge(JSON.parse(question)) };
  } catch ({ exit, message }) {
    return { Exit: exit ?? UNUSABLE, Refused: message, Verdict: null };
  }
}

const answers = readFileSync(0, "utf8").trimEnd().split("\n").map(answer);
console.log(answers.map((one) => JSON.stringify(one)).join("\n"));
process.exitCode = Math.max(...answers.map((one) => one.Exit));
