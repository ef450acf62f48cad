package main

// Envelopes: gossip.md, section 2.

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
)

const (
	maxEnvelope = 1 << 20
	maxSkew     = 120_000 // milliseconds
	context     = "sameview/gossip/v1\x00"
)

var envelopeShape = tuple(
	within(1, 1), hash, hash, number, bytesOf(16, 16), optional(bytesOf(16, 16)), listOf(anything, maxElements),
	bytesOf(64, 64),
)

func anything(any) bool { return true }

func peerID(vkey string) []byte { return digestOf([]byte(vkey)) }

func digestOf(parts ...[]byte) []byte {
	sum := sha256.Sum256(bytes.Join(parts, nil))
	return sum[:]
}

func random(length int) []byte {
	data := make([]byte, length)
	rand.Read(data)
	return data
}

// seal signs the first seven fields of an envelope.
func seal(key ed25519.PrivateKey, fields []any) []byte {
	signature := ed25519.Sign(key, append([]byte(context), pack(fields)...))
	return pack(append(fields[:7:7], signature))
}

// opener is what a reader of envelopes knows.
type opener struct {
	me    []byte
	peers map[string]vkey // by id
	used  map[string]bool // nonces, with their sender
}

// open returns the first seven fields of an envelope; replyTo is nil for a request.
func (o opener) open(raw []byte, replyTo []byte, now uint64) ([]any, error) {
	const ends = 4 + 32 + 2 + 32
	if len(raw) > maxEnvelope || len(raw) < ends+66 || !bytes.Equal(raw[38:70], o.me) {
		return nil, errFormat
	}
	if string(raw[:4]) != "\x98\x01\xc4\x20" || string(raw[len(raw)-66:len(raw)-64]) != "\xc4\x40" {
		return nil, errFormat
	}
	sender, known := o.peers[string(raw[4:36])]
	signed := bytes.Join([][]byte{[]byte(context), {0x97}, raw[1 : len(raw)-66]}, nil)
	if !known || !ed25519.Verify(sender.public, signed, raw[len(raw)-64:]) {
		return nil, errSignature
	}
	value, err := unpack(raw)
	if err != nil || !envelopeShape(value) {
		return nil, errFormat
	}
	fields := value.([]any)
	answered, _ := fields[5].([]byte)
	time, nonce := fields[3].(uint64), string(fields[1].([]byte))+string(fields[4].([]byte))
	if !bytes.Equal(answered, replyTo) || time+maxSkew < now || time > now+maxSkew || o.used[nonce] {
		return nil, errFormat
	}
	for _, message := range fields[6].([]any) {
		if _, _, err := typeOf(message); err != nil {
			return nil, err
		}
	}
	o.used[nonce] = true // for as long as this program runs, which is shorter than 240 seconds
	return fields[:7], nil
}
