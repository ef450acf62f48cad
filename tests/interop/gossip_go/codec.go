package main

// Canonical msgpack, and the shapes of messages: gossip.md, sections 2 and 3. A value is nil, a bool, a uint64, an
// int64 that is below zero, a string, a []byte or a []any.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

const (
	maxElements = 4096
	maxText     = 255
	maxDepth    = 6
	maxValues   = 100_000
)

var (
	errFormat    = errors.New("malformed, or not for this time and exchange")
	errSignature = errors.New("not signed by whom it has to be")
)

func pack(value any) []byte { return appendValue(nil, value) }

func appendValue(to []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(to, 0xc0)
	case bool:
		if v {
			return append(to, 0xc3)
		}
		return append(to, 0xc2)
	case uint64:
		if v < 0x80 {
			return append(to, byte(v))
		}
		return appendSized(to, v, 0xcc, 0)
	case int64:
		return appendNegative(to, v)
	case []byte:
		return append(appendSized(to, uint64(len(v)), 0xc4, 0), v...)
	case string:
		if len(v) < 32 {
			return append(append(to, 0xa0|byte(len(v))), v...)
		}
		return append(appendSized(to, uint64(len(v)), 0xd9, 0), v...)
	case []any:
		if len(v) < 16 {
			to = append(to, 0x90|byte(len(v)))
		} else {
			to = appendSized(to, uint64(len(v)), 0xdc, 1)
		}
		for _, one := range v {
			to = appendValue(to, one)
		}
		return to
	}
	panic(fmt.Sprintf("no value of a message: %T", value))
}

// appendSized writes a number in 1, 2, 4 or 8 bytes behind its code; first is the power of the shortest there is.
func appendSized(to []byte, number uint64, code byte, first int) []byte {
	power := first
	for power < 3 && number>>(8<<power) != 0 {
		power++
	}
	var all [8]byte
	binary.BigEndian.PutUint64(all[:], number)
	return append(append(to, code+byte(power-first)), all[8-1<<power:]...)
}

func appendNegative(to []byte, v int64) []byte {
	switch {
	case v >= 0:
		return appendValue(to, uint64(v))
	case v >= -32:
		return append(to, byte(v))
	case v >= math.MinInt8:
		return append(to, 0xd0, byte(v))
	case v >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(to, 0xd1), uint16(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(to, 0xd2), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(to, 0xd3), uint64(v))
}

// unpack reads one value, and nothing but its shortest form.
func unpack(data []byte) (any, error) {
	r := reader{left: data}
	value := r.value(1)
	if r.failed || len(r.left) > 0 || !bytes.Equal(pack(value), data) {
		return nil, errFormat
	}
	return value, nil
}

// reader stops reading at the first mistake.
type reader struct {
	left   []byte
	values int
	failed bool
}

func (r *reader) take(count uint64) []byte {
	if r.failed || count > uint64(len(r.left)) {
		r.failed = true
		return nil
	}
	taken := r.left[:count]
	r.left = r.left[count:]
	return taken
}

func (r *reader) number(width uint64) (number uint64) {
	for _, b := range r.take(width) {
		number = number<<8 | uint64(b)
	}
	return number
}

func (r *reader) value(depth int) any {
	code := r.number(1)
	if r.values++; r.values > maxValues {
		r.failed = true
	}
	switch {
	case r.failed:
		return nil
	case code < 0x80:
		return code
	case 0x90 <= code && code < 0xa0:
		return r.array(code&0x0f, depth)
	case 0xa0 <= code && code < 0xc0:
		return r.text(code & 0x1f)
	case code == 0xc0:
		return nil
	case code == 0xc2 || code == 0xc3:
		return code == 0xc3
	case 0xc4 <= code && code <= 0xc6:
		return r.take(r.number(1 << (code - 0xc4)))
	case 0xcc <= code && code <= 0xcf:
		return r.number(1 << (code - 0xcc))
	case 0xd0 <= code && code <= 0xd3:
		unused := 64 - 8<<(code-0xd0)
		return int64(r.number(1<<(code-0xd0))<<unused) >> unused
	case 0xd9 <= code && code <= 0xdb:
		return r.text(r.number(1 << (code - 0xd9)))
	case code == 0xdc || code == 0xdd:
		return r.array(r.number(2<<(code-0xdc)), depth)
	case code >= 0xe0:
		return int64(int8(code))
	}
	r.failed = true // a map, a float, an extension, or the code that is never used
	return nil
}

func (r *reader) text(length uint64) any {
	text := string(r.take(length))
	r.failed = r.failed || length > maxText || !utf8.ValidString(text)
	return text
}

func (r *reader) array(length uint64, depth int) any {
	if length > maxElements || depth > maxDepth {
		r.failed = true
		return nil
	}
	elements := []any{}
	for ; length > 0 && !r.failed; length-- {
		elements = append(elements, r.value(depth+1))
	}
	return elements
}

// The types of messages.
const (
	summary, digest, getHeads, head       = 2, 3, 4, 5
	getConsistency, consistency           = 6, 7
	getTile, tile                         = 8, 9
	haveEvidence, getEvidence, evidence   = 10, 11, 12
	testimony, buckets, part              = 16, 20, 21
	maxNote, maxBundle, maxTile, maxProof = 96 * 1024, 204_800, 8192, 64
)

// shape says whether a value is of it.
type shape func(any) bool

var (
	number  = within(0, math.MaxInt64)
	hash    = bytesOf(32, 32)
	proof   = listOf(hash, maxProof)
	entries = listOf(tuple(hash, number, hash, within(0, 255)), maxElements)
	class   = within(0, 255)
	pieces  = listOf(tuple(class, hash, hash, hash), 64)
)

var shapes = map[uint64]shape{
	summary:        tuple(number, number, number, hash, hash, number, number, number),
	digest:         tuple(number, optional(number), number, entries, boolean),
	getHeads:       tuple(number, listOf(hash, 256)),
	head:           tuple(number, hash, bytesOf(0, maxNote), within(1, 2), optional(number), proof),
	getConsistency: tuple(number, hash, number, number),
	consistency:    tuple(number, hash, number, number, hash, hash, proof),
	getTile:        tuple(number, hash, within(0, 63), number, within(1, 256)),
	tile:           tuple(number, hash, within(0, 63), number, bytesOf(0, maxTile)),
	haveEvidence:   tuple(number, pieces),
	getEvidence:    tuple(number, listOf(hash, 16)),
	evidence:       tuple(number, class, bytesOf(0, maxBundle)),
	testimony:      tuple(number, bytesOf(0, 4096)),
	buckets:        tuple(number, number, bytesOf(8, 8), powerOfTwo(4*8, 4*4096)),
	part:           tuple(number, number, powerOfTwo(8/8, 4096/8), entries, boolean),
}

// typeOf is the type of a message, and whether it is known; one of a known type has to have its shape.
func typeOf(message any) (kind any, known bool, err error) {
	fields, ok := message.([]any)
	if !ok || len(fields) == 0 {
		return nil, false, errFormat
	}
	switch kind := fields[0].(type) {
	case int64:
		return kind, false, nil
	case uint64:
		shape, known := shapes[kind]
		if known && !shape(message) {
			break
		}
		return kind, known, nil
	}
	return nil, false, errFormat
}

func boolean(value any) bool {
	_, ok := value.(bool)
	return ok
}

func within(least, most uint64) shape {
	return func(value any) bool {
		number, ok := value.(uint64)
		return ok && least <= number && number <= most
	}
}

func bytesOf(least, most int) shape {
	return func(value any) bool {
		data, ok := value.([]byte)
		return ok && least <= len(data) && len(data) <= most
	}
}

func powerOfTwo(least, most int) shape {
	return func(value any) bool {
		data, _ := value.([]byte)
		return bytesOf(least, most)(value) && len(data)&(len(data)-1) == 0
	}
}

func optional(present shape) shape {
	return func(value any) bool { return value == nil || present(value) }
}

func listOf(element shape, most int) shape {
	return func(value any) bool {
		list, ok := value.([]any)
		for _, one := range list {
			ok = ok && element(one)
		}
		return ok && len(list) <= most
	}
}

func tuple(fields ...shape) shape {
	return func(value any) bool {
		list, ok := value.([]any)
		ok = ok && len(list) == len(fields)
		for at := 0; ok && at < len(fields); at++ {
			ok = fields[at](list[at])
		}
		return ok
	}
}
