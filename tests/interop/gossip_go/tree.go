package main

// Trees of RFC 6962, the fold of evidence.md section 4.2, and what gossip.md section 3 says of sets of heads.

import (
	"bytes"
	"math/bits"
	"sort"
)

func leafHash(entry []byte) []byte       { return digestOf([]byte{0}, entry) }
func nodeHash(left, right []byte) []byte { return digestOf([]byte{1}, left, right) }

// split is the largest power of two below a number.
func split(size int) int { return 1 << (bits.Len(uint(size-1)) - 1) }

// rootOf hashes leaves, or the whole nodes of some level, up to their root.
func rootOf(leaves [][]byte) []byte {
	switch len(leaves) {
	case 0:
		return digestOf()
	case 1:
		return leaves[0]
	}
	middle := split(len(leaves))
	return nodeHash(rootOf(leaves[:middle]), rootOf(leaves[middle:]))
}

// prove makes the consistency proof from the tree of some first leaves to that of all, as RFC 6962 section 2.1.2 says.
func prove(size int, leaves [][]byte, whole bool) [][]byte {
	if size == len(leaves) {
		if whole {
			return nil
		}
		return [][]byte{rootOf(leaves)}
	}
	middle := split(len(leaves))
	if size <= middle {
		return append(prove(size, leaves[:middle], whole), rootOf(leaves[middle:]))
	}
	return append(prove(size-middle, leaves[middle:], false), rootOf(leaves[:middle]))
}

// fold computes both roots that a consistency proof leads to.
func fold(m, n uint64, root []byte, path [][]byte) (from, to []byte, ok bool) {
	if m&(m-1) == 0 {
		path = append([][]byte{root}, path...)
	}
	if m == 0 || m >= n || len(path) == 0 {
		return nil, nil, false
	}
	fn, sn := m-1, n-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	from, to = path[0], path[0]
	for _, node := range path[1:] {
		switch {
		case sn == 0:
			return nil, nil, false
		case fn&1 == 1 || fn == sn:
			from, to = nodeHash(node, from), nodeHash(node, to)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		default:
			to = nodeHash(to, node)
		}
		fn, sn = fn>>1, sn>>1
	}
	return from, to, sn == 0
}

// held is what somebody holds: entries of origin, size, root and flags, each as it is spelled.
type held map[string][]any

func (h held) add(entries any) {
	for _, one := range entries.([]any) {
		h[string(pack(one.([]any)[:3]))] = one.([]any)
	}
}

// sorted is the canonical order, of the entries in one bucket of so many, or of all in one.
func (h held) sorted(bucket, count int) []any {
	found := []any{}
	for _, entry := range h {
		if bucketOf(entry[0].([]byte), count) == bucket {
			found = append(found, entry)
		}
	}
	sort.Slice(found, func(i, j int) bool { return less(found[i].([]any), found[j].([]any)) })
	return found
}

func less(a, b []any) bool {
	if order := bytes.Compare(a[0].([]byte), b[0].([]byte)); order != 0 {
		return order < 0
	}
	if a[1] != b[1] {
		return a[1].(uint64) < b[1].(uint64)
	}
	return bytes.Compare(a[2].([]byte), b[2].([]byte)) < 0
}

func bucketOf(origin []byte, count int) int {
	first := int(origin[0])<<8 | int(origin[1])
	return first >> (16 - bits.Len(uint(count-1)))
}

func (h held) frontier() []byte {
	all := h.sorted(0, 1)
	if len(all) > maxElements {
		all = all[:maxElements]
	}
	return digestOf(pack(all))
}

func (h held) buckets(count int, salt []byte) []byte {
	var hashes []byte
	for bucket := 0; bucket < count; bucket++ {
		hashes = append(hashes, digestOf(salt, pack(h.sorted(bucket, count)))[:4]...)
	}
	return hashes
}

// part tells what is held in those buckets that somebody else has otherwise.
func (h held) part(salt, theirs []byte) []any {
	count := len(theirs) / 4
	marks, entries := differing(h.buckets(count, salt), theirs), []any{}
	for bucket := 0; bucket < count; bucket++ {
		if marks[bucket/8]&(0x80>>(bucket%8)) != 0 {
			entries = append(entries, h.sorted(bucket, count)...)
		}
	}
	return []any{uint64(part), uint64(cursor), marks, entries, false}
}

// differing marks the buckets in which two sides differ.
func differing(ours, theirs []byte) []byte {
	marks := make([]byte, len(ours)/4/8)
	for bucket := 0; bucket < len(ours)/4; bucket++ {
		if at := 4 * bucket; !bytes.Equal(ours[at:at+4], theirs[at:at+4]) {
			marks[bucket/8] |= 0x80 >> (bucket % 8)
		}
	}
	return marks
}
