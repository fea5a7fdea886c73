package gate

import (
	"strconv"
	"strings"
)

// One route rule of an app as the gate sends it, in the gate's normal form: a slash before and after every segment.
type rule struct {
	Path    string   `json:"path"`
	Folded  string   `json:"folded"`
	Methods []string `json:"methods"`
	// It covers only paths that also contain this, in any case.
	Within string `json:"within"`
}

// What the gate's answers for an app depend on besides the credentials. Guarded by shared.mu.
type app struct {
	id    string
	rules []rule
	// No rules are known: no answer can be cached.
	unknown bool
	// The class of each "GET/a/b blog.example.com" of this generation that has one.
	classes map[string]string
}

const (
	maxClasses    = 10000
	maxClassBytes = 256
	maxPlainBytes = 2048
	// The gate's own paths: the redirect to the buyer's page, and doctor's requests.
	ownPaths   = "/.skpayments/"
	plainBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~!$&'()*+,=:@./-"
)

// Without OPTIONS, since the gate's answer to it depends on more headers, and without uncommon methods.
var keepable = named("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

// classOf returns the class of a request: the gate gives the same answer to all requests of one class. It consists of
// the app, the host, and the rules that apply to the method and cover the path, literally and case-folded. "": not
// cached.
func classOf(appID string, rules []rule, method, path, host string) string {
	if !keepable[method] || !plain(path) {
		return ""
	}
	normal := path
	if !strings.HasSuffix(normal, "/") {
		normal += "/"
	}
	folded := strings.ToLower(normal)
	if strings.HasPrefix(folded, ownPaths) {
		return ""
	}
	class := appID + "\x00"
	for i, r := range rules {
		if !holds(r.Methods, method) || r.Within != "" && !strings.Contains(folded, r.Within) {
			continue
		}
		if strings.HasPrefix(normal, r.Path) {
			class += strconv.Itoa(i) + "l"
		}
		if strings.HasPrefix(folded, r.Folded) {
			class += strconv.Itoa(i) + "f"
		}
	}
	return class + "\x00" + host + "\x00"
}

// ofGeneration limits a class to the answers of one generation.
func ofGeneration(generation int64, class string) string {
	return strconv.FormatInt(generation, 10) + "\x00" + class
}

// remember stores the class of a request for ServeHTTP. shared.mu is locked.
func remember(a *app, name, class string) {
	if len(name) > maxClassBytes {
		return
	}
	if len(a.classes) >= maxClasses {
		a.classes = map[string]string{}
	}
	a.classes[name] = class
}

// plain reports whether a path has one interpretation. Windows ignores a dot at the end of a segment.
func plain(path string) bool {
	if len(path) > maxPlainBytes || !strings.HasPrefix(path, "/") || strings.TrimLeft(path, plainBytes) != "" {
		return false
	}
	return !strings.Contains(path, "//") && !strings.Contains(path+"/", "./")
}

// holds reports whether a rule for these methods applies to this method; the gate adds HEAD to GET.
func holds(methods []string, method string) bool {
	if len(methods) == 0 {
		return true
	}
	for _, name := range methods {
		if name == method {
			return true
		}
	}
	return false
}
