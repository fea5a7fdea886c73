package gate

import (
	"math/rand"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
)

// As in the generated ForwardAuth routes.
var pattern = regexp.MustCompile(`(?i)^x([^a-z0-9]*sk[^a-z0-9]|[^a-z0-9](original|rewrite)[^a-z0-9]ur[il]|[^a-z0-9-]forwarded[^a-z0-9]|-forwarded[^a-z0-9-])`)

func TestEverySpellingOfOurHeadersIsScrubbed(t *testing.T) {
	for name, isOurs := range map[string]bool{
		"X-SK-Tier": true, "x-sk-tier": true, "X-Sk-Tier": true, "X_SK_Tier": true, "X-SK_Tier": true,
		"X_SK-Tier": true, "X.SK.Tier": true, "X!SK!Tier": true, "X~SK~Tier": true, "X#SK#Tier": true,
		"XSK-Tier": true, "xsk_": true, "X--SK--Tier": true, "X-SK-": true, "X-Sk-Gate": true, "X-SK-Anything": true,
		"X-SK": false, "X-Skate": false, "X-Sky-Net": false, "X-SK1": false, "X-Task": false, "X-A-SK-B": false,
		"X-Original-Url": true, "X_Original-Uri": true, "X-Rewrite_Url": true, "X.Rewrite.Url": true,
		"X_Forwarded_For": true, "X-Forwarded_Host": true, "X_Forwarded-Uri": true, "X.Forwarded.Proto": true,
		"X-Forwarded-For": false, "X-Forwarded-User": false, "X-Original-Host": false, "X-Rewrite": false,
		"SK-Tier": false, "Api_key": false, "Y-SK-Tier": false, "": false, "X": false,
	} {
		h := http.Header{name: {"forged"}, "Cookie": {"a=b"}}
		scrub(h, nil)
		if _, there := h[name]; there == isOurs {
			t.Errorf("%q: still there: %v", name, there)
		}
		if h["Cookie"] == nil {
			t.Errorf("%q removed the cookie as well", name)
		}
	}
}

func TestScrubbingMatchesThePatternForAllNames(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	pieces := []string{"x", "X", "-", "_", ".", "!", "sk", "SK", "sK", "s", "k", "tier", "1", "a", " ", "\x80", "\xff", "é", "\x00", "\u017f", "\u212a"}
	for i := 0; i < 20000; i++ {
		name := ""
		for len(name) < 1+random.Intn(8) {
			name += pieces[random.Intn(len(pieces))]
		}
		for _, spelt := range []string{name, textproto.CanonicalMIMEHeaderKey(name)} {
			h := http.Header{spelt: {"v"}}
			scrub(h, nil)
			if (len(h) == 0) != pattern.MatchString(spelt) {
				t.Fatalf("%q: left %v", spelt, h)
			}
		}
	}
}

func TestNoIgnoredHeaderIsOurs(t *testing.T) {
	for name := range usual {
		if pattern.MatchString(name) || textproto.CanonicalMIMEHeaderKey(name) != name {
			t.Error(name)
		}
	}
}

func TestAnUnknownHeaderIsLearntAndACredentialHeaderNever(t *testing.T) {
	s := &shared{}
	headers := []string{"Cookie", "X-Who"}
	known := newIgnored(headers, nil)
	h := http.Header{"Cookie": {"a=b"}, "X-Who": {"me"}, "X-Odd": {"1"}, "Accept": {"*/*"}}
	if notIgnored(s, known, h) == whoAsks(headers, h) {
		t.Fatal("the unknown header is ignored before it was learnt")
	}
	learn(s, known, h)
	if notIgnored(s, known, h) != whoAsks(headers, h) {
		t.Fatalf("not learnt: %q", notIgnored(s, known, h))
	}
	if known.names["Cookie"] || known.names["X-Who"] {
		t.Fatal("a header with credentials is ignored")
	}
}

func TestTheNumberOfLearntHeadersIsLimited(t *testing.T) {
	s := &shared{}
	known := newIgnored(nil, nil)
	before := len(known.names)
	for i := 0; i < 3*maxLearnt; i++ {
		learn(s, known, http.Header{"X-Junk-" + strings.Repeat("a", i%50) + string(rune('a'+i%26)): {"1"}})
	}
	learn(s, known, http.Header{strings.Repeat("L", maxLearntBytes+1): {"1"}})
	if len(known.names) > before+maxLearnt || known.names[strings.Repeat("L", maxLearntBytes+1)] {
		t.Fatal(len(known.names))
	}
}

func TestDifferentCredentialsHaveDifferentTexts(t *testing.T) {
	headers := []string{"Authorization", "Cookie", "X-Api-Key"}
	seen := map[string]int{}
	for i, h := range []http.Header{
		{},
		{"Cookie": {""}},
		{"Cookie": {"a"}},
		{"Cookie": {"a", "b"}},
		{"Cookie": {"b", "a"}},
		{"Cookie": {"a, b"}},
		{"Cookie": {"a; b"}},
		{"Cookie": {"a\tb"}},
		{"Cookie": {"ab"}},
		{"Cookie": {"a"}, "Authorization": {"b"}},
		{"Cookie": {"b"}, "Authorization": {"a"}},
		{"Authorization": {"a"}, "X-Api-Key": {"b"}},
		{"Authorization": {"a", ""}, "X-Api-Key": {"b"}},
		{"Authorization": {"a"}, "X-Api-Key": {"", "b"}},
		{"X-Api-Key": {"aCookie: b"}},
	} {
		text := whoAsks(headers, h)
		if other, there := seen[text]; there {
			t.Errorf("%d and %d: %q", other, i, text)
		}
		seen[text] = i
		if text != notIgnored(&shared{}, newIgnored(headers, nil), h) {
			t.Errorf("%d: ServeHTTP reads %q", i, notIgnored(&shared{}, newIgnored(headers, nil), h))
		}
	}
}

func TestHeadersRemovedForOneAppAreNeitherIgnoredNorLearnt(t *testing.T) {
	also := regexp.MustCompile(`(?i)^(?:x[^a-z0-9]*http[^a-z0-9]*method[^a-z0-9]*$|referer$)`)
	h := http.Header{"X-Http_method": {"PUT"}, "Referer": {"x"}, "X-Other": {"x"}}
	scrub(h, also)
	if len(h) != 1 || h.Get("X-Other") == "" {
		t.Errorf("left: %v", h)
	}
	if known := newIgnored(nil, also); known.names["Referer"] || !known.names["Accept"] {
		t.Error("a name that is removed is ignored")
	}
	s := &shared{ignored: map[string]*ignored{}}
	if ignoredFor(s, nil, "", nil) == ignoredFor(s, nil, also.String(), also) {
		t.Error("two apps that remove different names share what they learn")
	}
}
