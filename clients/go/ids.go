package quotagate

import "strings"

const (
	orgPrefix, userPrefix = "00D", "005"
	idLength              = 15
	// checksumAlphabet has one letter for each pattern of capitals in five characters.
	checksumAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
)

// canonicalID is the one spelling of an org or a user. Salesforce writes its ids
// with 15 characters, or with a checksum of their case as 18, in which it takes the
// last three in any case; the service counts all of them as one. Anything else is a
// name, and stays as it is; so does an id that the service refuses.
func canonicalID(prefix, name string) string {
	if !strings.HasPrefix(name, prefix) || len(name) != idLength && len(name) != idLength+3 || !isAlphanumeric(name) {
		return name
	}
	full := name[:idLength] + idChecksum(name[:idLength])
	if len(name) == len(full) && !strings.EqualFold(name, full) {
		return name
	}
	return full
}

// idChecksum has a letter for every five characters, which tells the capitals.
func idChecksum(id string) string {
	var sum []byte
	for ; len(id) >= 5; id = id[5:] {
		capitals := 0
		for place := range 5 {
			if 'A' <= id[place] && id[place] <= 'Z' {
				capitals |= 1 << place
			}
		}
		sum = append(sum, checksumAlphabet[capitals])
	}
	return string(sum)
}

func isAlphanumeric(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
