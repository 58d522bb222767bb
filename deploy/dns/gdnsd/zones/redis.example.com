; gdnsd's own form of the zone: the service's addresses are the weighted plugin's.
@     5 SOA ns1.example.com. hostmaster.example.com. ( 1 1h 10m 1w 5 )
@       NS  ns1.example.com.
@       NS  ns2.example.com.

; At most 15 seconds, at least 5: what is about to go down is not remembered longer.
@       15/5 DYNA weighted!redis

a   300 A    192.0.2.10
a   300 AAAA 2001:db8:0:6379::a
b   300 A    192.0.2.20
b   300 AAAA 2001:db8:0:6379::b
c   300 A    198.51.100.10
c   300 AAAA 2001:db8:0:6379::c
d   300 A    198.51.100.20
d   300 AAAA 2001:db8:0:6379::d
