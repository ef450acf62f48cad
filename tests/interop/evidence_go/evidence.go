package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

type hash [32]byte

type opening struct {
	node hash
	path []hash
}

type bundle struct {
	kind         string
	root         *hash // of the prefix, where there is one
	path         []hash
	level, index uint64
	openings     []opening
	notes        []note
}

type statement struct {
	Size uint64
	Root []byte
	Time uint64
}

type verdict struct {
	Type, Accused, Origin string
	Statements            []statement
	Parties               []string
	ID                    string
}

// Section 2: the bundle.

type lines []string

func (l *lines) next() string {
	check(len(*l) > 0, malformed("it ends too early"))
	line := (*l)[0]
	*l = (*l)[1:]
	return line
}

func (l *lines) field(prefix string) string {
	value, found := strings.CutPrefix(l.next(), prefix)
	check(found, malformed("a line does not begin with "+prefix))
	return value
}

func (l *lines) starts(prefix string) bool { return len(*l) > 0 && strings.HasPrefix((*l)[0], prefix) }

func (l *lines) path() (path []hash) {
	for l.starts("hash ") {
		path = append(path, parseHash(l.field("hash ")))
	}
	check(len(path) <= 64, malformed("more than 64 hashes"))
	return path
}

func parse(raw []byte) (b bundle) {
	check(len(raw) <= 204800, malformed("more than 204,800 bytes"))
	text, found := strings.CutSuffix(string(raw), "\n")
	check(found, malformed("the last line does not end"))
	l := lines(strings.Split(text, "\n"))
	check(l.next() == "tlog-evidence@v1", malformed("another version"))
	b.kind = l.field("type ")
	switch b.kind {
	case "openings":
		b.level, b.index = parseDecimal(l.field("level ")), parseDecimal(l.field("index "))
		for range 2 {
			b.openings = append(b.openings, opening{parseHash(l.field("node ")), l.path()})
		}
	case "non-consistent", "cosigner-non-consistent", "quorum-split":
		if b.kind != "quorum-split" || l.starts("root ") {
			root := parseHash(l.field("root "))
			b.root, b.path = &root, l.path()
			check(len(b.path) >= 1, malformed("no hash"))
		}
	case "bad-empty-head", "same-size", "log-rollback", "cosigner-rollback", "cosigner-same-size":
	default:
		panic(malformed("an unknown type"))
	}
	check(l.next() == "", malformed("a field that the type does not have"))
	b.notes = append(b.notes, parseNote(&l))
	if b.kind != "bad-empty-head" {
		check(l.next() == "--", malformed("no separator"))
		b.notes = append(b.notes, parseNote(&l))
	}
	check(len(l) == 0, malformed("something follows the last signature line"))
	return b
}

// trusted is section 3: who may be judged, and as what.
func trusted(vkeys []string, p *policy, origin string, asked bool) (all []*key) {
	for _, vkey := range vkeys {
		k := parseKey(vkey)
		k.log = k.kind != 4 && (k.kind != 6 || k.name == origin)
		if !k.log || asked || k.name == origin {
			all = append(all, k)
		}
	}
	if p != nil {
		for _, k := range p.logs {
			if k.log = true; k.name == origin {
				all = append(all, k)
			}
		}
		for _, w := range p.witnesses {
			if w.key.kind != 6 || w.key.name != origin {
				all = append(all, w.key)
			}
		}
	}
	for i, k := range all {
		twin := func(other *key) bool { return other.name == k.name && other.id == k.id && other.vkey != k.vkey }
		check(!slices.ContainsFunc(all[:i], twin), unusable("two keys of one name and key ID"))
	}
	return all
}

// judge is section 4.
func judge(raw []byte, vkeys []string, p *policy, origin *string) verdict {
	b := parse(raw)
	about := b.notes[0].origin
	check(origin == nil || *origin == about, unproven("another origin was asked about"))
	keys := trusted(vkeys, p, about, origin != nil)
	v := verdict{Type: b.kind, Origin: about, Parties: []string{}}
	sides := [][]signed{}
	for _, n := range b.notes {
		check(n.origin == about, unproven("two origins"))
		sides = append(sides, open(n, keys, b.kind == "quorum-split"))
	}
	judged := b.judged(sides)
	check(b.contradicts(), unproven("the statements do not contradict each other in this way"))
	if b.kind == "quorum-split" {
		check(p != nil, unproven("no policy was given"))
		check(p.satisfied(p.quorum, about, sides[0]) && p.satisfied(p.quorum, about, sides[1]), unproven("a quorum was not reached"))
		v.Parties = p.parties(about, sides)
	}
	v.Accused = judged[0].key.vkey
	for i, s := range judged {
		v.Statements = append(v.Statements, statement{b.notes[i].size, b.notes[i].root[:], s.time})
	}
	slices.SortFunc(v.Statements, func(x, y statement) int {
		return cmp.Or(cmp.Compare(x.Size, y.Size), bytes.Compare(x.Root, y.Root), cmp.Compare(x.Time, y.Time))
	})
	v.ID = fmt.Sprintf("%x", sha256.Sum256(v.packed()))
	return v
}

func open(n note, keys []*key, every bool) (all []signed) {
	for _, line := range n.signatures {
		at := slices.IndexFunc(keys, func(k *key) bool { return k.name == line.name && k.id == line.id })
		again := at >= 0 && slices.ContainsFunc(all, func(s signed) bool { return s.key == keys[at] })
		check(!every || at >= 0 && !again, unproven("a line by a key that is not trusted, or a second line of one key"))
		if at >= 0 && !again {
			all = append(all, signed{keys[at], keys[at].open(n, line.body)})
		}
	}
	check(len(all) > 0, unproven("nobody who is trusted signed"))
	return all
}

// judged is section 4.1: the accused's signature of A and the one of B that stands beside it.
func (b bundle) judged(sides [][]signed) []signed {
	cosigner, rollback := strings.HasPrefix(b.kind, "cosigner-"), strings.HasSuffix(b.kind, "-rollback")
	var able [][]signed
	for _, side := range sides {
		side = slices.DeleteFunc(slices.Clone(side), func(s signed) bool { return s.key.log == cosigner })
		check(len(side) > 0, unproven("nobody signed who could be accused of this"))
		able = append(able, side)
	}
	if len(able) == 1 {
		return able[0][:1]
	}
	for _, a := range able[0] {
		for _, z := range able[1] {
			if a.key == z.key && (!rollback || 0 < a.time && a.time < z.time) {
				return []signed{a, z}
			}
		}
	}
	check(!cosigner && !rollback, unproven("no one key signed both"))
	return []signed{able[0][0], able[1][0]}
}

// contradicts is section 4.2, and the order of section 2.2 with it.
func (b bundle) contradicts() bool {
	A := b.notes[0]
	if b.kind == "bad-empty-head" {
		return A.size == 0 && A.root != sha256.Sum256(nil)
	}
	B := b.notes[1]
	smaller := bytes.Compare(A.root[:], B.root[:]) < 0
	switch {
	case strings.HasSuffix(b.kind, "-rollback"):
		return A.size > B.size
	case b.kind == "openings":
		a, z := b.openings[0], b.openings[1]
		return (A.size < B.size || A.size == B.size && smaller) && a.node != z.node &&
			a.under(b.level, b.index, A.size, A.root) && z.under(b.level, b.index, B.size, B.root)
	case b.root == nil:
		return A.size == B.size && smaller
	}
	return 0 < A.size && A.size < B.size && *b.root != A.root && leads(A.size, B.size, *b.root, B.root, b.path)
}

func node(left, right hash) hash { return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:])) }

// leads says whether fold(m, n, r, path) is (r, rb).
func leads(m, n uint64, r, rb hash, path []hash) bool {
	if m&(m-1) == 0 {
		path = slices.Concat([]hash{r}, path)
	}
	fn, sn := m-1, n-1
	for ; fn&1 == 1; fn, sn = fn>>1, sn>>1 {
	}
	a, b := path[0], path[0]
	for _, c := range path[1:] {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			a, b = node(c, a), node(c, b)
			for ; fn&1 == 0 && fn != 0; fn, sn = fn>>1, sn>>1 {
			}
		} else {
			b = node(b, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	return sn == 0 && a == r && b == rb
}

// under says whether node_root(level, index, n, o.node, o.path) is root.
func (o opening) under(level, index, n uint64, root hash) bool {
	if level > 62 || index >= n>>level {
		return false
	}
	h, fn, sn := o.node, index, (n-1)>>level
	for _, c := range o.path {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			h = node(c, h)
			for ; fn&1 == 0 && fn != 0; fn, sn = fn>>1, sn>>1 {
			}
		} else {
			h = node(h, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	return sn == 0 && h == root
}

// packed is section 5: what the id is the hash of.
func (v verdict) packed() []byte {
	out := []byte{0x94}
	for _, text := range []string{v.Type, v.Accused, v.Origin} {
		out = append(packHead(out, uint64(len(text)), 0xa0, 32, 0xd8), text...)
	}
	out = append(out, 0x90|byte(len(v.Statements)))
	for _, s := range v.Statements {
		out = append(append(packHead(append(out, 0x93), s.Size, 0, 128, 0xcb), 0xc4, 32), s.Root...)
		out = packHead(out, s.Time, 0, 128, 0xcb)
	}
	return out
}

// packHead writes a number or a length: in one byte of its own below a limit, else behind the code after "code" that
// says how many bytes it takes.
func packHead(out []byte, n uint64, small byte, below uint64, code byte) []byte {
	switch {
	case n < below:
		return append(out, small|byte(n))
	case n < 1<<8:
		return append(out, code+1, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, code+2), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(out, code+3), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(out, code+4), n)
}
