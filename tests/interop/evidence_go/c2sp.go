package main

// What the C2SP texts define: signed-note, tlog-cosignature, static-ct-api (for 0x05) and tlog-policy.

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"filippo.io/mldsa"
)

type note struct {
	text, origin string
	size         uint64
	root         hash
	extended     bool // by extension lines
	signatures   []signature
}

type signature struct {
	name, id string
	body     []byte
}

type key struct {
	vkey, name, id string
	kind           byte
	pub            []byte
	log            bool // or else a cosigner
}

func parseBase64(text string) []byte {
	value, err := base64.StdEncoding.DecodeString(text)
	check(err == nil && base64.StdEncoding.EncodeToString(value) == text, malformed("base64"))
	return value
}

func parseHash(text string) hash {
	value := parseBase64(text)
	check(len(value) == 32, malformed("a hash that is not of 32 bytes"))
	return hash(value)
}

func parseDecimal(text string) uint64 {
	value, err := strconv.ParseInt(text, 10, 64)
	check(err == nil && value >= 0 && strconv.FormatInt(value, 10) == text, malformed("a decimal"))
	return uint64(value)
}

func isName(name string) bool {
	space := func(r rune) bool { return unicode.Is(unicode.White_Space, r) }
	return name != "" && !strings.Contains(name, "+") && !strings.ContainsFunc(name, space)
}

func parseNote(l *lines) (n note) {
	all := *l
	n.origin, n.size, n.root = l.next(), parseDecimal(l.next()), parseHash(l.next())
	check(n.origin != "" && len(n.origin) <= 255, malformed("an origin"))
	for l.next() != "" {
		n.extended = true
	}
	n.text = strings.Join(all[:len(all)-len(*l)-1], "\n") + "\n"
	for len(*l) > 0 && (*l)[0] != "--" {
		n.signatures = append(n.signatures, parseSignature(l.field("— ")))
	}
	check(1 <= len(n.signatures) && len(n.signatures) <= 100, malformed("no signature lines, or more than 100"))
	raw := strings.Join(all[:len(all)-len(*l)], "\n") + "\n"
	check(len(raw) <= 98304, malformed("a note of more than 98,304 bytes"))
	check(utf8.ValidString(raw), malformed("not UTF-8"))
	controls := strings.ContainsFunc(raw, func(r rune) bool { return r < 0x20 && r != '\n' })
	check(!controls, malformed("a control character"))
	return n
}

func parseSignature(line string) signature {
	name, value, found := strings.Cut(line, " ")
	check(found && isName(name), malformed("a key name"))
	blob := parseBase64(value)
	check(len(blob) >= 5, malformed("a signature of less than 5 bytes"))
	return signature{name, string(blob[:4]), blob[4:]}
}

func parseKey(vkey string) *key {
	parts := strings.SplitN(vkey, "+", 3)
	check(len(parts) == 3 && isName(parts[0]), unusable("a vkey"))
	value, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	check(err == nil && len(value) >= 2, unusable("a vkey's base64"))
	k := key{vkey: vkey, name: parts[0], kind: value[0], pub: value[1:]}
	named := []byte(k.name + "\n" + string(value)) // what the key ID is a hash of
	switch k.kind {
	case 1, 4:
		check(len(k.pub) == ed25519.PublicKeySize, unusable("an Ed25519 key"))
	case 2:
		named = k.pub
	case 5:
		logID := sha256.Sum256(k.pub)
		named = []byte(k.name + "\n\x05" + string(logID[:]))
	case 6:
		check(len(k.pub) == mldsa.MLDSA44PublicKeySize && len(k.name) <= 255, unusable("an ML-DSA-44 key"))
	default:
		panic(unusable("a key of an unknown type"))
	}
	id := sha256.Sum256(named)
	check(fmt.Sprintf("%x", id[:4]) == parts[1], unusable("a key ID"))
	k.id = string(id[:4])
	return &k
}

// open verifies the body of one signature line and returns the time in it.
func (k *key) open(n note, body []byte) (time uint64) {
	if k.kind >= 4 {
		check(len(body) > 8, unproven("a signature is too short"))
		time, body = binary.BigEndian.Uint64(body), body[8:]
		check(time < 1<<63, unproven("a time above 2^63 - 1"))
	}
	number := binary.BigEndian.AppendUint64
	good := false
	switch k.kind {
	case 1:
		good = k.openEd25519([]byte(n.text), body)
	case 2:
		good = k.openECDSA([]byte(n.text), body)
	case 4:
		good = k.openEd25519(fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", time, n.text), body)
	case 5:
		message := append(number(number([]byte{0, 1}, time), n.size), n.root[:]...)
		framed := len(body) >= 4 && string(body[:2]) == "\x04\x03" && int(binary.BigEndian.Uint16(body[2:])) == len(body)-4
		good = framed && !n.extended && k.name == n.origin && k.openECDSA(message, body[4:])
	case 6:
		message := append([]byte("subtree/v1\n\x00"), byte(len(k.name)))
		message = append(number(append(message, k.name...), time), byte(len(n.origin)))
		message = append(number(number(append(message, n.origin...), 0), n.size), n.root[:]...)
		pub, err := mldsa.NewPublicKey(mldsa.MLDSA44(), k.pub)
		good = err == nil && !n.extended && mldsa.Verify(pub, message, body, nil) == nil
	}
	check(good, unproven("a trusted key's signature does not verify"))
	return time
}

// The y of the points of low order. Go accepts them as R, in their canonical encodings.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
}

func (k *key) openEd25519(message, body []byte) bool {
	if len(body) != ed25519.SignatureSize {
		return false
	}
	y := slices.Clone(body[:32])
	y[31] &= 0x7f
	return !slices.Contains(lowOrder, fmt.Sprintf("%x", y)) && ed25519.Verify(k.pub, message, body)
}

func (k *key) openECDSA(message, der []byte) bool {
	pub, err := x509.ParsePKIXPublicKey(k.pub)
	curve, ok := pub.(*ecdsa.PublicKey)
	digest := sha256.Sum256(message)
	return err == nil && ok && ecdsa.VerifyASN1(curve, digest[:], der)
}

// signed is one line that was verified.
type signed struct {
	key  *key
	time uint64
}

type witness struct {
	name string
	key  *key
}

type group struct {
	least   int
	members []string
}

type policy struct {
	logs      []*key
	witnesses []witness
	groups    map[string]group
	quorum    string
}

var blanks = regexp.MustCompile(`[ \t]+`)

func parsePolicy(text string) *policy {
	p := policy{groups: map[string]group{}}
	for _, line := range strings.Split(text, "\n") {
		words := blanks.Split(strings.Trim(line, " \t"), -1)
		switch {
		case words[0] == "" || words[0][0] == '#':
		case words[0] == "log" && len(words) >= 2:
			p.logs = append(p.logs, parseKey(words[1]))
		case words[0] == "witness" && len(words) >= 3:
			p.witnesses = append(p.witnesses, witness{words[1], parseKey(words[2])})
		case words[0] == "group" && len(words) >= 4:
			least, err := strconv.Atoi(words[2])
			if words[2] == "any" || words[2] == "all" {
				least, err = map[string]int{"any": 1, "all": len(words) - 3}[words[2]], nil
			}
			check(err == nil && least >= 1 && least <= len(words)-3, unusable("a group of the policy"))
			p.groups[words[1]] = group{least, words[3:]}
		case words[0] == "quorum" && len(words) == 2 && p.quorum == "":
			p.quorum = words[1]
		default:
			panic(unusable("a line of the policy"))
		}
	}
	check(p.quorum != "", unusable("a policy without a quorum"))
	return &p
}

func (p *policy) satisfied(name, origin string, by []signed) bool {
	for _, w := range p.witnesses {
		if w.name == name {
			return w.cosigned(origin, by)
		}
	}
	count := 0
	for _, member := range p.groups[name].members {
		if p.satisfied(member, origin, by) {
			count++
		}
	}
	return name == "none" || count > 0 && count >= p.groups[name].least
}

func (w witness) cosigned(origin string, by []signed) bool {
	counts := func(s signed) bool { return s.key.vkey == w.key.vkey && s.time > 0 }
	return w.key.name != origin && slices.ContainsFunc(by, counts)
}

// parties returns the key names that count on both sides.
func (p *policy) parties(origin string, sides [][]signed) []string {
	var counted [2][]string
	for i, side := range sides {
		for _, w := range p.witnesses {
			if w.cosigned(origin, side) {
				counted[i] = append(counted[i], w.key.name)
			}
		}
	}
	both := slices.DeleteFunc(counted[0], func(name string) bool { return !slices.Contains(counted[1], name) })
	slices.Sort(both)
	return append([]string{}, slices.Compact(both)...)
}
