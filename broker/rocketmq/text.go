package rocketmq

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/rollcall-mq/rollcall"
)

// Properties of RocketMQ are a map of text: without order, without repeats, and with two
// control characters between them in its log. What does not fit is written as base64.

// coded begins a value that is base64.
const coded = "="

// text is any bytes as a property.
func text(v string) string {
	if plain(v) && !strings.HasPrefix(v, coded) {
		return v
	}
	return coded + base64.RawURLEncoding.EncodeToString([]byte(v))
}

// bytesOf reads what text wrote. What it did not write is taken as it is.
func bytesOf(v string) string {
	if rest, is := strings.CutPrefix(v, coded); is {
		if b, err := base64.RawURLEncoding.DecodeString(rest); err == nil {
			return string(b)
		}
	}
	return v
}

// plain text can be a property as it is.
func plain(v string) bool {
	if v == "" || !utf8.ValidString(v) {
		return false
	}
	for _, r := range v {
		if r < ' ' || r == 0x7f {
			return false
		}
	}
	return true
}

// free names can be those of a property. The server's own are in capitals, or begin with
// an underscore; all that look like one of them are not used.
func free(name string) bool {
	lower := false
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z':
			lower = true
		case r >= 'A' && r <= 'Z', r == '-', r == '.':
		case r == '_' && i > 0, r >= '0' && r <= '9' && i > 0:
		default:
			return false
		}
	}
	return lower && !strings.HasPrefix(name, ours) && name != "extend_uniq_info"
}

// headerProperty lists headers that a map cannot hold: their order, repeats, and values
// that are no text. An entry is a name, whose value is a property, or a name and its
// value, "name=base64".
const headerProperty = ours + "headers"

// putHeaders writes headers into properties.
func putHeaders(properties map[string]string, headers []rollcall.Header) {
	var list []string
	sorted, last := true, ""
	for _, h := range headers {
		_, again := properties[h.Name]
		if value := string(h.Value); free(h.Name) && plain(value) && !again {
			properties[h.Name] = value
			list = append(list, url.QueryEscape(h.Name))
			sorted = sorted && last < h.Name
		} else {
			list = append(list, url.QueryEscape(h.Name)+"="+base64.RawURLEncoding.EncodeToString(h.Value))
			sorted = false
		}
		last = h.Name
	}
	if !sorted {
		properties[headerProperty] = strings.Join(list, ",")
	}
}

// takeHeaders reads what putHeaders wrote, and takes it out of the properties. A list
// that nobody here wrote stays a property.
func takeHeaders(properties map[string]string) (out []rollcall.Header) {
	list, is := properties[headerProperty]
	if !is {
		return nil
	}
	var used []string
	for entry := range strings.SplitSeq(list, ",") {
		escaped, value, inside := strings.Cut(entry, "=")
		name, err := url.QueryUnescape(escaped)
		if err != nil {
			return nil
		}
		if !inside {
			text, there := properties[name]
			if !there {
				continue // somebody took it out
			}
			used = append(used, name)
			out = append(out, rollcall.Header{Name: name, Value: []byte(text)})
			continue
		}
		b, err := base64.RawURLEncoding.DecodeString(value)
		if err != nil {
			return nil
		}
		out = append(out, rollcall.Header{Name: name, Value: b})
	}
	for _, name := range append(used, headerProperty) {
		delete(properties, name)
	}
	return out
}
