// Command evidence verifies tlog-evidence@v1 bundles offline. It is written from specs/evidence.md and the C2SP texts
// alone and shares no code with anything: where it and another verifier disagree, one is wrong or the text is unclear.
//
//	evidence [-key VKEY]... [-policy FILE] [-origin ORIGIN] BUNDLE    exit 0: proven, 1: not proven, 2: malformed
//	evidence -batch < QUESTIONS > ANSWERS                             one JSON object a line, bundles in base64
//
// Whatever else it cannot use ends it with 3.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

type (
	malformed string
	unproven  string
	unusable  string // what the caller trusts cannot be read
)

// check leaves, by a panic that question.answer catches, with the reason why the evidence is refused.
func check[Reason malformed | unproven | unusable](holds bool, reason Reason) {
	if !holds {
		panic(reason)
	}
}

type question struct {
	Bundle []byte
	Keys   []string
	Policy *string
	Origin *string
}

type answer struct {
	Exit    int
	Refused string
	Verdict *verdict
}

func (q question) answer() (a answer) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case unproven:
			a = answer{1, "not proven: " + string(reason), nil}
		case malformed:
			a = answer{2, "malformed: " + string(reason), nil}
		case unusable:
			a = answer{3, "not usable: " + string(reason), nil}
		default:
			panic(reason)
		}
	}()
	var p *policy
	if q.Policy != nil {
		p = parsePolicy(*q.Policy)
	}
	v := judge(q.Bundle, q.Keys, p, q.Origin)
	return answer{Verdict: &v}
}

func main() {
	var q question
	flag.Func("key", "a `VKEY` that is trusted; may be repeated", func(s string) error {
		q.Keys = append(q.Keys, s)
		return nil
	})
	flag.Func("origin", "the `ORIGIN` that is asked about", func(s string) error {
		q.Origin = &s
		return nil
	})
	flag.Func("policy", "a `FILE` with a policy", func(s string) error {
		raw, err := os.ReadFile(s)
		text := string(raw)
		q.Policy = &text
		return err
	})
	batch := flag.Bool("batch", false, "questions on standard input, answers on standard output")
	flag.CommandLine.Init("evidence", flag.ContinueOnError)
	exitOn(flag.CommandLine.Parse(os.Args[1:]))
	if *batch {
		exitOn(answerAll())
		return
	}
	raw, err := os.ReadFile(flag.Arg(0))
	exitOn(err)
	q.Bundle = raw
	a := q.answer()
	if v := a.Verdict; v != nil {
		fmt.Printf("type        %s\naccused     %s\norigin      %s\n", v.Type, v.Accused, v.Origin)
		for _, s := range v.Statements {
			fmt.Printf("statement   %d %x %d\n", s.Size, s.Root, s.Time)
		}
		fmt.Printf("parties     %q\nid          %s\n", v.Parties, v.ID)
	} else {
		fmt.Println(a.Refused)
	}
	os.Exit(a.Exit)
}

func answerAll() error {
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), bufio.NewWriter(os.Stdout)
	to := json.NewEncoder(out)
	for in.More() {
		var q question
		if err := in.Decode(&q); err != nil {
			return err
		}
		if err := to.Encode(q.answer()); err != nil {
			return err
		}
	}
	return out.Flush()
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}
