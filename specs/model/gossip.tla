------------------------------- MODULE gossip -------------------------------
(***************************************************************************)
(* A small federation of specs/gossip.md: one log whose branches A and B   *)
(* share their first Split entries, three witnesses of whom one signs      *)
(* whatever it is asked to, three monitors of whom one lies, and channels  *)
(* that lose, repeat and reorder messages.  tests/sim/model.py walks the   *)
(* same states with the functions of the program.                          *)
(*                                                                         *)
(*   NoFrame          nobody convicts a log that did not fork              *)
(*   WitnessMonotone  an honest witness never goes back nor over           *)
(*   Decided          what a monitor's branch has reached is decided (N4)  *)
(*   Dilemma          a fork that honest, linked monitors hold leads to a  *)
(*                    conviction or to a freeze that they see              *)
(*                                                                         *)
(* What a monitor has told it can tell again, and a head that the log      *)
(* signed can be shown by anybody at any time, so the set of messages that *)
(* were sent need not be a variable: Hear and Deliver can repeat, reorder  *)
(* and lose.  That a message arrives at all is promised only by fairness,  *)
(* and only between the two honest monitors.                               *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

CONSTANTS
    Forks,         \* whether the log may sign heads of both branches
    TwoViews,      \* whether it shows branch B to the second honest monitor
    Linked,        \* whether the link between the honest monitors is up forever
    Trusting,      \* broken rule: monitors believe what a peer claims
    Careless       \* broken rule: witnesses look at the size only

Split == 2
Last  == 4

Head    == [size : 0..Last, branch : {"A", "B"}]
Nothing == [size |-> 0, branch |-> "A"]
Signable == {h \in Head : h.size >= Split /\ (h.branch = "B" => Forks /\ h.size > Split)}

Witnesses == {"w1", "w2"}     \* the third one is in every quorum that wants it
Monitors  == {"m1", "m2"}     \* the third one says what it likes, see Lie
View(m)   == IF TwoViews /\ m = "m2" THEN "B" ELSE "A"
Other(m)  == IF m = "m1" THEN "m2" ELSE "m1"

Agree(g, h)  == g.branch = h.branch \/ g.size <= Split \/ h.size <= Split
Prefix(g, h) == g.size <= h.size /\ Agree(g, h)

VARIABLES
    signed,       \* heads that carry the log's signature: whoever sees one can show it to anybody
    cosigned,     \* what each honest witness cosigned last
    branch,       \* the head up to which each honest monitor re-hashed the log
    pending,      \* signed heads that it cannot decide about yet
    convicted     \* whether it holds evidence

vars == <<signed, cosigned, branch, pending, convicted>>

Message == [to : Monitors, head : Head, proof : BOOLEAN] \cup [to : Monitors, evidence : {TRUE}]

TypeOK ==
    /\ signed \subseteq Signable
    /\ cosigned \in [Witnesses -> Head]
    /\ branch \in [Monitors -> Head]
    /\ pending \in [Monitors -> SUBSET Signable]
    /\ convicted \in [Monitors -> BOOLEAN]

Init ==
    /\ signed = {}
    /\ cosigned = [w \in Witnesses |-> Nothing]
    /\ branch = [m \in Monitors |-> Nothing]
    /\ pending = [m \in Monitors |-> {}]
    /\ convicted = [m \in Monitors |-> FALSE]

-----------------------------------------------------------------------------
(* The log signs the next size of a branch. *)
Sign(h) ==
    /\ h \in Signable \ signed
    /\ h.size > Split => \E g \in signed : g.size = h.size - 1 /\ Agree(g, h)
    /\ signed' = signed \cup {h}
    /\ UNCHANGED <<cosigned, branch, pending, convicted>>

(* An honest witness cosigns what is proven to extend what it cosigned last. *)
Cosign(w, h) ==
    /\ h \in signed
    /\ IF Careless THEN cosigned[w].size <= h.size ELSE Prefix(cosigned[w], h)
    /\ cosigned' = [cosigned EXCEPT ![w] = h]
    /\ UNCHANGED <<signed, branch, pending, convicted>>

-----------------------------------------------------------------------------
(* What a monitor whose branch is b, with heads p pending, makes of a signed head h.  With a proof from the tree that *)
(* h is of, the two trees compare even where h is larger than b. *)
Contradicts(b, p, h, proof) ==
    \/ b # Nothing /\ ~Agree(b, h) /\ (h.size <= b.size \/ proof)
    \/ \E g \in p : g.size = h.size /\ g # h
Settled(b, h) == h.size <= b.size /\ Agree(b, h)

Judge(m, h, proof) ==
    IF convicted[m] THEN UNCHANGED <<pending, convicted>>
    ELSE IF Contradicts(branch[m], pending[m] \ {h}, h, proof) THEN
        /\ convicted' = [convicted EXCEPT ![m] = TRUE]
        /\ pending' = [pending EXCEPT ![m] = {}]
    ELSE
        /\ pending' = [pending EXCEPT ![m] = IF Settled(branch[m], h) THEN @ \ {h} ELSE @ \cup {h}]
        /\ UNCHANGED convicted

(* A client, a witness or the lying monitor shows a signed head, with a proof or without. *)
Hear(m, h, proof) ==
    /\ h \in signed
    /\ Judge(m, h, proof)
    /\ UNCHANGED <<signed, cosigned, branch>>

(* The lying monitor claims, without a signature, that the log forked. *)
Lie(m) ==
    /\ Trusting
    /\ convicted' = [convicted EXCEPT ![m] = TRUE]
    /\ pending' = [pending EXCEPT ![m] = {}]
    /\ UNCHANGED <<signed, cosigned, branch>>

(* A monitor re-hashes the branch it is shown up to a head with a quorum, and reviews what was pending. *)
Follow(m, h) ==
    /\ ~convicted[m]
    /\ h \in signed
    /\ h.branch = View(m) \/ h.size <= Split
    /\ h.size > branch[m].size
    /\ \E w \in Witnesses : cosigned[w] = h
    /\ branch' = [branch EXCEPT ![m] = h]
    /\ IF \E g \in pending[m] : g.size <= h.size /\ ~Agree(g, h)
       THEN /\ convicted' = [convicted EXCEPT ![m] = TRUE]
            /\ pending' = [pending EXCEPT ![m] = {}]
       ELSE /\ pending' = [pending EXCEPT ![m] = {g \in @ : g.size > h.size}]
            /\ UNCHANGED convicted
    /\ UNCHANGED <<signed, cosigned>>

-----------------------------------------------------------------------------
(* The link between the two honest monitors. *)
Tells(m) ==
    {[to |-> Other(m), head |-> branch[m], proof |-> TRUE] : x \in {y \in {1} : branch[m] # Nothing}}
    \cup {[to |-> Other(m), head |-> h, proof |-> FALSE] : h \in pending[m]}
    \cup {[to |-> Other(m), evidence |-> TRUE] : x \in {y \in {1} : convicted[m]}}

Deliver(message) ==
    /\ message \in Tells(Other(message.to))
    /\ IF "evidence" \in DOMAIN message THEN
           /\ convicted' = [convicted EXCEPT ![message.to] = TRUE]
           /\ pending' = [pending EXCEPT ![message.to] = {}]
       ELSE Judge(message.to, message.head, message.proof)
    /\ UNCHANGED <<signed, cosigned, branch>>

Next ==
    \/ \E h \in Signable : Sign(h)
    \/ \E w \in Witnesses, h \in Signable : Cosign(w, h)
    \/ \E m \in Monitors, h \in Signable, proof \in BOOLEAN : Hear(m, h, proof)
    \/ \E m \in Monitors : Lie(m)
    \/ \E m \in Monitors, h \in Signable : Follow(m, h)
    \/ \E message \in Message : Deliver(message)

(* Neither the log nor the witnesses nor a client has to do anything: only the honest link is up forever. *)
Fairness == Linked => \A message \in Message : WF_vars(Deliver(message))

Spec == Init /\ [][Next]_vars /\ Fairness

-----------------------------------------------------------------------------
NoFrame == ~Forks => \A m \in Monitors : ~convicted[m]
Decided == \A m \in Monitors : \A h \in pending[m] : h.size > branch[m].size
WitnessMonotone == [][\A w \in Witnesses : Prefix(cosigned[w], cosigned'[w])]_cosigned

Held == {branch[m] : m \in Monitors} \cup UNION {pending[m] : m \in Monitors}
Fork == \E g, h \in Held : ~Agree(g, h)
Convicted == \E m \in Monitors : convicted[m]
FrozenVisible == \E m \in Monitors : pending[m] # {}

Dilemma == Fork ~> (Convicted \/ FrozenVisible)
=============================================================================
