module sameview.test/gossip

go 1.19
