#!/bin/sh
# Stamps and books for rollcall from a shell, with POSIX sh and coreutils: docs/stamp.md.
# It prints what stamp.py prints: the headers of some messages, one line a message, the
# values in hexadecimal; told what became of each, the books before, after and at the end.
#
#     sh stamp.sh orders 2                      # two messages for orders, lane 0
#     sh stamp.sh orders 3 stored maybe void    # and the books of a sender that was told that
set -eu

# varint N: LEB128, seven bits a byte, the lowest first, the high bit says that more follow
varint() {
	n=$1
	while [ "$n" -gt 127 ]; do
		printf '%02x' $((n % 128 + 128))
		n=$((n / 128))
	done
	printf '%02x' "$n"
}

# stamp LANE SEQUENCE: the bytes of the header rollcall-stamp. With an id of your own the
# first byte is 81, and the header rollcall-id has the id.
stamp() { printf '01%s%s%s%s' "$life" "$origin" "$(varint "$1")" "$(varint "$2")"; }

# ranges FATE FATES…: the numbers of that fate, as sorted ranges [first,last]
ranges() {
	want=$1 i=0 first=0 out=
	shift
	for fate in "$@" none; do
		i=$((i + 1))
		if [ "$fate" = "$want" ]; then
			[ "$first" -gt 0 ] || first=$i
		elif [ "$first" -gt 0 ]; then
			out="$out${out:+,}[$first,$((i - 1))]"
			first=0
		fi
	done
	printf '%s' "$out"
}

# book KIND LANES: a record, for the destination _rollcall, with the life as its key
book() {
	number=$((number + 1))
	printf '{"v":1,"kind":"%s","life":"%s","sender":"stamp.sh","destination":"%s","number":%d,"time":"%s","next_ms":10000%s}\n' \
		"$1" "$life" "$destination" "$number" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2"
}

if [ $# -lt 2 ]; then
	echo "usage: stamp.sh DESTINATION COUNT [FATE...], such as: stamp.sh orders 3 stored maybe void" >&2
	exit 2
fi
destination=$1 count=$2 number=0
shift 2
case $destination in
'' | *[!A-Za-z0-9._-]*)
	echo "stamp.sh: destination \"$destination\" is no topic of Kafka: letters, digits, . _ - only" >&2
	exit 2
	;;
esac
for fate in "$@"; do
	case $#/$fate in "$count"/stored | "$count"/maybe | "$count"/void) continue ;; esac
	echo "stamp.sh: a fate for each of the $count messages is needed: stored, maybe or void" >&2
	exit 2
done
life=$(od -An -v -N16 -tx1 /dev/urandom | tr -d ' \n')
origin=$(printf '%s' "$destination" | sha256sum | cut -c1-16)

[ $# -eq 0 ] || book birth ''
sequence=0
while [ "$sequence" -lt "$count" ]; do
	sequence=$((sequence + 1))
	printf '[["rollcall-stamp", "%s"]]\n' "$(stamp 0 "$sequence")"
done
if [ $# -gt 0 ]; then
	sets=
	for fate in stored void maybe; do
		of=$(ranges "$fate" "$@")
		[ -z "$of" ] || sets="$sets,\"$fate\":[$of]"
	done
	book beacon ",\"lanes\":[{\"lane\":0,\"given\":$count$sets}]"
	book end ",\"lanes\":[{\"lane\":0,\"given\":$count$sets}]"
fi
