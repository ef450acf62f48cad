"""Simulations of gossip: the engine, the models of rounds, the published baseline, and whole federations that lie.

    engine      virtual time, named sources of chance, the hash of everything that happened
    rounds      gossip in synchronous rounds: the recursion, simulated rounds, and evidence that floods a graph of links
    published   the gossip of Chuat et al. as Oxford, Parker and Ryan modelled it, beside ours in the same population
    world       logs and witnesses that sign whatever they are told to, and the trees behind them
    host        one monitor around the pure gossip core, with a disk that can be torn
    network     who reaches whom, how late, and what gets lost
    adversaries what hostile logs, witnesses and peers do
    invariants  what must hold whatever they do
    watermarks  what completeness watermarks claim in a story, compared with what clients were shown
    tally       how many stories have been played
    runs        one simulated federation from its seed to its figures

Nothing here reads a clock or the world's chance: one seed gives one run, byte for byte, in every process.
"""
