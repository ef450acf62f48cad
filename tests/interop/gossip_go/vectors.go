package main

// Reads vectors, whose file says what each is, and prints what it takes each for.

import (
	"encoding/hex"
	"encoding/json"
)

type vectorFile struct {
	NowMs   uint64 `json:"now_ms"`
	Vkeys   map[string]string
	Vectors []vector
}

type vector struct {
	Name, Part, Bytes string
	InReplyTo         *string `json:"in_reply_to"` // what an answer has to answer
	After             string  // another one, which was read before
}

type judgement struct {
	Name, Error string
	Value       any
	Again       string // the bytes of that value
}

func readVectors(raw []byte) []judgement {
	var file vectorFile
	expect(json.Unmarshal(raw, &file) == nil, "the file of vectors is no JSON")
	named := map[string]vector{}
	found := []judgement{}
	for _, one := range file.Vectors {
		named[one.Name] = one
	}
	for _, one := range file.Vectors {
		a := must(parseVkey(file.Vkeys["a"]))
		reader := opener{peerID(file.Vkeys["b"]), map[string]vkey{string(peerID(a.text)): a}, map[string]bool{}}
		if one.After != "" {
			_, _, err := named[one.After].read(reader, file.NowMs)
			expect(err == nil, "what comes before %s is refused", one.Name)
		}
		value, again, err := one.read(reader, file.NowMs)
		words := map[error]string{nil: "", errFormat: "format", errSignature: "signature"}
		found = append(found, judgement{one.Name, words[err], shown(value), hex.EncodeToString(again)})
	}
	return found
}

// read returns what a vector says, and the bytes of that.
func (v vector) read(reader opener, now uint64) (any, []byte, error) {
	data := must(hex.DecodeString(v.Bytes))
	switch v.Part {
	case "message":
		value, err := unpack(data)
		if err != nil {
			return nil, nil, err
		}
		kind, known, err := typeOf(value)
		if err == nil && !known {
			return []any{"ignored", kind}, pack(value), nil
		}
		return value, pack(value), err
	case "envelope":
		var replyTo []byte
		if v.InReplyTo != nil {
			replyTo = must(hex.DecodeString(*v.InReplyTo))
		}
		fields, err := reader.open(data, replyTo, now)
		if err != nil {
			return nil, nil, err
		}
		return fields, pack(append(fields[:7:7], data[len(data)-64:])), nil
	case "testimony":
		fields, err := openTestimony(string(data), reader.peers)
		return fields, data, err
	case "testimony-file":
		notes, err := readTestimonyFile(string(data))
		return notes, data, err
	}
	panic("a part of an unknown kind: " + v.Part)
}

// shown has byte strings in hexadecimal, as the file has them.
func shown(value any) any {
	switch v := value.(type) {
	case []byte:
		return hex.EncodeToString(v)
	case []any:
		all := []any{}
		for _, one := range v {
			all = append(all, shown(one))
		}
		return all
	}
	return value
}
