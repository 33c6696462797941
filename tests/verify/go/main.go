// Checks a log's checkpoint, tiles and inclusion proofs with Go's reference implementation (sumdb/note, sumdb/tlog).
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run tests/verify/go AUDIT-FOLDER audit-signing.pub
//
// Debian: apt-get install golang-go golang-golang-x-mod-dev
package main

import (
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tiles reads tiles as C2SP tlog-tiles lays them out: the same as Go's, with the height left out of the path.
type tiles string

func (folder tiles) Height() int { return 8 }

func (folder tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(folder), path))
		if os.IsNotExist(err) && tile.W < 256 {
			data, err = os.ReadFile(filepath.Join(string(folder), path[:strings.LastIndex(path, ".p/")]))
		}
		if err != nil {
			return nil, err
		}
		all = append(all, data[:tile.W*32])
	}
	return all, nil
}

func (folder tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// entry reads the salted hash of a record from its bundle.
func (folder tiles) entry(index, size int64) []byte {
	tile := tlog.Tile{H: 8, L: -1, N: index / 256, W: int(min(256, size-index/256*256))}
	path := strings.Replace(strings.Replace(tile.Path(), "tile/8/", "tile/", 1), "/data/", "/entries/", 1)
	data, err := os.ReadFile(filepath.Join(string(folder), path))
	if err != nil {
		data, err = os.ReadFile(filepath.Join(string(folder), strings.Split(path, ".p/")[0]))
	}
	must(err)
	at := index % 256 * 34
	return data[at+2 : at+34]
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func main() {
	folder := tiles(os.Args[1])
	key, err := os.ReadFile(os.Args[2])
	must(err)
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	must(err)
	text, err := os.ReadFile(filepath.Join(os.Args[1], "checkpoint"))
	must(err)
	opened, err := note.Open(text, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	// Reading tiles through this checks every one against the root.
	hashes := tlog.TileHashReader(tree, folder)
	computed, err := tlog.TreeHash(size, hashes)
	must(err)
	if computed != tree.Hash {
		log.Fatal("the tiles do not hash to the checkpoint")
	}
	for index := int64(0); index < size; index++ {
		proof, err := tlog.ProveRecord(size, index, hashes)
		must(err)
		must(tlog.CheckRecord(proof, size, tree.Hash, index, tlog.RecordHash(folder.entry(index, size))))
	}
	for old := int64(1); old < size; old += size/50 + 1 {
		before, err := tlog.TreeHash(old, hashes)
		must(err)
		proof, err := tlog.ProveTree(size, old, hashes)
		must(err)
		must(tlog.CheckTree(proof, size, tree.Hash, old, before))
	}
	// Proofs that `keygate audit prove` printed.
	for _, path := range os.Args[3:] {
		text, err := os.ReadFile(path)
		must(err)
		head, _, _ := strings.Cut(string(text), "\n\n")
		lines := strings.Split(head, "\n")
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
		must(err)
		var proof tlog.RecordProof
		for _, line := range lines[2:] {
			hash, err := tlog.ParseHash(line)
			must(err)
			proof = append(proof, hash)
		}
		must(tlog.CheckRecord(proof, size, tree.Hash, index, tlog.RecordHash(folder.entry(index, size))))
	}
	fmt.Println(verifier.Name(), size, "records,", len(os.Args)-3, "printed proofs: ok")
}
