package main

// Signed notes, checkpoints and vkeys as C2SP specifies them, testimony (gossip.md, section 8), and two types of
// evidence (evidence.md, sections 2 to 5).

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type vkey struct {
	text, name string
	id         []byte
	kind       byte
	public     ed25519.PublicKey
}

func parseVkey(text string) (vkey, error) {
	fields := strings.SplitN(text, "+", 3)
	if len(fields) != 3 {
		return vkey{}, errFormat
	}
	id, _ := hex.DecodeString(fields[1])
	data, err := decode64(fields[2])
	if err != nil || len(data) != 33 || !bytes.Equal(id, digestOf([]byte(fields[0]+"\n"), data)[:4]) {
		return vkey{}, errFormat
	}
	return vkey{text, fields[0], id, data[0], data[1:]}, nil
}

func decode64(text string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(data) != text {
		return nil, errFormat
	}
	return data, nil
}

func decodeHash(text string) ([]byte, error) {
	data, err := decode64(text)
	if err != nil || len(data) != 32 {
		return nil, errFormat
	}
	return data, nil
}

func decimal(text string) (uint64, error) {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number < 0 || strconv.FormatInt(number, 10) != text {
		return 0, errFormat
	}
	return uint64(number), nil
}

type line struct {
	name      string
	id        []byte
	signature []byte
}

type note struct {
	text  string
	lines []line
}

func parseNote(raw string) (note, error) {
	at := strings.LastIndex(raw, "\n\n")
	if at < 0 || !utf8.ValidString(raw) || strings.IndexFunc(raw, noText) >= 0 || !strings.HasSuffix(raw[at+2:], "\n") {
		return note{}, errFormat
	}
	found := note{text: raw[:at+1]}
	for _, text := range strings.Split(raw[at+2:len(raw)-1], "\n") {
		fields := strings.SplitN(text, " ", 3)
		if len(fields) != 3 || fields[0] != "—" || fields[1] == "" || strings.IndexFunc(fields[1], noName) >= 0 {
			return note{}, errFormat
		}
		data, err := decode64(fields[2])
		if err != nil || len(data) < 5 {
			return note{}, errFormat
		}
		found.lines = append(found.lines, line{fields[1], data[:4], data[4:]})
	}
	if len(raw) > maxNote || len(found.lines) > 100 {
		return note{}, errFormat
	}
	return found, nil
}

func noText(r rune) bool { return r < ' ' && r != '\n' }

func noName(r rune) bool { return r == '+' || unicode.IsSpace(r) }

// signedBy says whether the first line of a key verifies; there has to be one.
func (n note) signedBy(key vkey) bool {
	for _, one := range n.lines {
		if one.name != key.name || !bytes.Equal(one.id, key.id) {
			continue
		}
		text, signature := n.text, one.signature
		if key.kind == 4 && len(signature) == 72 { // cosignature/v1, with its time
			time := strconv.FormatUint(binary.BigEndian.Uint64(signature), 10)
			text, signature = "cosignature/v1\ntime "+time+"\n"+text, signature[8:]
		}
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(key.public, []byte(text), signature)
	}
	return false
}

type checkpoint struct {
	origin string
	size   uint64
	root   []byte
}

func (n note) checkpoint() (checkpoint, error) {
	lines := strings.Split(n.text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return checkpoint{}, errFormat
	}
	size, err := decimal(lines[1])
	if err != nil {
		return checkpoint{}, err
	}
	root, err := decodeHash(lines[2])
	return checkpoint{lines[0], size, root}, err
}

// openCheckpoint reads a checkpoint that this key signed.
func openCheckpoint(raw string, key vkey) (checkpoint, error) {
	read, err := parseNote(raw)
	if err != nil {
		return checkpoint{}, err
	}
	if !read.signedBy(key) {
		return checkpoint{}, errSignature
	}
	return read.checkpoint()
}

// readTestimony returns origin, kind, size, root, first seen, last tried, tries and vantage.
func readTestimony(raw string) (note, []any, error) {
	read, err := parseNote(raw)
	lines := strings.Split(read.text, "\n")
	if err != nil || len(raw) > 4096 || len(lines) != 7 || lines[0] != "tlog-testimony@v1" || lines[2] != "unserved" {
		return read, nil, errFormat
	}
	size, rootText, _ := strings.Cut(lines[3], " ")
	root, err := decodeHash(rootText)
	numbers := append([]string{size}, strings.Split(lines[4], " ")...)
	if origin := lines[1]; err != nil || len(numbers) != 4 || origin == "" || len(origin) > 255 {
		return read, nil, errFormat
	}
	var parsed [4]uint64
	for at, text := range numbers {
		if parsed[at], err = decimal(text); err != nil {
			return read, nil, err
		}
	}
	vantage := lines[5]
	if vantage == "" || len(vantage) > 255 || parsed[1] > parsed[2] || parsed[3] < 1 {
		return read, nil, errFormat
	}
	if vantage == "-" {
		vantage = ""
	}
	return read, []any{lines[1], lines[2], parsed[0], root, parsed[1], parsed[2], parsed[3], vantage}, nil
}

// openTestimony asks that the one line there is is by the peer key of somebody known, whose vkey is the last field.
func openTestimony(raw string, peers map[string]vkey) ([]any, error) {
	read, fields, err := readTestimony(raw)
	if err != nil {
		return nil, err
	}
	for _, key := range peers {
		if len(read.lines) == 1 && read.signedBy(key) {
			return append(fields, key.text), nil
		}
	}
	return nil, errSignature
}

// readTestimonyFile returns the notes of a file.
func readTestimonyFile(raw string) ([]any, error) {
	notes := []any{}
	for _, one := range strings.Split(raw, "\n--\n") {
		if !strings.HasSuffix(one, "\n") {
			one += "\n"
		}
		if _, _, err := readTestimony(one); err != nil {
			return nil, err
		}
		notes = append(notes, []byte(one))
	}
	return notes, nil
}

// verifyEvidence judges same-size and non-consistent against a key of type 0x01, and returns the id. Of section 4.4 it
// leaves out points of low order, which crypto/ed25519 does not tell.
func verifyEvidence(bundle string, key vkey) ([]byte, error) {
	header, pair, _ := strings.Cut(bundle, "\n\n")
	lines := strings.Split(header, "\n")
	// The first note's text ends with the next empty line; a line of its own may be two dashes.
	text, rest, found := strings.Cut(pair, "\n\n")
	first, second, split := strings.Cut(rest, "\n--\n")
	if !found || !split || len(lines) < 2 || lines[0] != "tlog-evidence@v1" || len(bundle) > maxBundle {
		return nil, errFormat
	}
	a, err := openCheckpoint(text+"\n\n"+first+"\n", key)
	if err != nil {
		return nil, err
	}
	b, err := openCheckpoint(second, key)
	if err != nil || a.origin != b.origin || a.origin != key.name {
		return nil, errSignature
	}
	kind := strings.TrimPrefix(lines[1], "type ")
	switch {
	case kind == "same-size" && len(lines) == 2 && a.size == b.size && bytes.Compare(a.root, b.root) < 0:
	case kind == "non-consistent" && contradicts(lines[2:], a, b):
	default:
		return nil, errFormat
	}
	said := []any{[]any{a.size, a.root, uint64(0)}, []any{b.size, b.root, uint64(0)}}
	return digestOf(pack([]any{kind, key.text, a.origin, said})), nil
}

// contradicts says whether the proof in the header leads from another root to that of the second checkpoint.
func contradicts(header []string, a, b checkpoint) bool {
	var hashes [][]byte
	for at, text := range header {
		prefix := "hash "
		if at == 0 {
			prefix = "root "
		}
		one, err := decodeHash(strings.TrimPrefix(text, prefix))
		if err != nil || !strings.HasPrefix(text, prefix) {
			return false
		}
		hashes = append(hashes, one)
	}
	if len(hashes) < 2 || len(hashes) > 1+maxProof || a.size >= b.size {
		return false
	}
	from, to, ok := fold(a.size, b.size, hashes[0], hashes[1:])
	return ok && bytes.Equal(from, hashes[0]) && bytes.Equal(to, b.root) && !bytes.Equal(from, a.root)
}
