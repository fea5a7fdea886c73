package gate

// How many users' last changes each half holds.
const maxRecent = 2000

// The last changes of the log by user, in two halves like the table: an answer of a gate that is a little behind the
// stream is still right if its user is not among those who changed since.
type changes struct {
	young, old map[string]int64
	// Who changed up to floor is unknown; top is the highest number in the old half.
	floor, top int64
}

// note records a change of the log. s.number is the one before.
func note(s *shared, person string, number int64) {
	if s.recent.young == nil {
		s.recent.young = map[string]int64{}
	}
	if len(s.recent.young) >= maxRecent {
		s.recent = changes{young: map[string]int64{}, old: s.recent.young, floor: s.recent.top, top: s.number}
	}
	s.recent.young[person] = number
}

// overtaken reports whether an answer was decided before a change that the stream announced and that may concern it.
func overtaken(s *shared, made *answer) bool {
	who := made.person.key
	return made.number < s.recent.floor || made.number < s.recent.young[who] || made.number < s.recent.old[who]
}
