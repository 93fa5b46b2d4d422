package guarantee

// redisFaults are those of keys in Redis, of files that set any.
var redisFaults = []fault{
	{"no answer to a SET", "TestRelayKilled", false, always(Once, "set again; the number of the key makes it harmless")},
	{"a SET comes late", "TestGuard", false, always(Once, "a higher number stays")},
	{"Redis is down, full or a replica", "TestServerErrors", false, always(Waits, "tried again; rows behind it wait too")},
	{"Redis loses its memory", "", false, always(NotPromised, "what was set is not set again, and a late row may set an older value until the next change")},
}

// redisConditions are what the user must keep, and what rollcall cannot see.
func (s Setup) redisConditions() (out []string) {
	for _, name := range s.Redis {
		out = append(out, "the number that "+name+" gets rises with every change of a key: two changes with one number are a finding (rollcall dead outbox)")
	}
	if len(s.Redis) > 0 {
		out = append(out, "nothing else writes these keys")
	}
	return out
}
