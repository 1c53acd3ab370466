/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The VHDX log: a ring of entries, each of them a header with descriptors
 * and then a 4 KiB sector for every data descriptor.
 *
 *     ring:  | ... tail entry | entry | head entry | old entries ... |
 *     entry: | header, descriptors | data sector | data sector | ...
 *
 * If the header names a log, the newest sequence of entries in it, from the
 * tail that its last entry names to that entry, is what was meant to be
 * written: it is applied in memory. Entries may wrap around the ring's end.
 * Each entry is validated as a whole (all sequence numbers, checksum), which
 * also means that no valid entry starts within another: validating the whole
 * ring is linear work. The log is held in memory while this file works, the
 * sectors that it changes as long as the disk is open. */
#include "config.h"

#include "common/budget.h"
#include "common/crc32c.h"
#include "format/overlay.h"
#include "format/vhdx.h"

#define SECTOR         4096u
#define LOG_BYTES_MAX  (64u << 20) /* Hyper-V and qemu make 1 MiB */
#define LOG_MEMORY     4           /* times its size while it is replayed */
#define FILE_BYTES_MAX ((uint64_t)INT64_MAX)

struct entry_disk {
	uint8_t signature[4]; /* "loge" */
	uint8_t checksum[4];
	uint8_t length[4];
	uint8_t tail[4];
	uint8_t sequence[8];
	uint8_t descriptors[4];
	uint8_t reserved[4];
	uint8_t log_guid[16];
	uint8_t flushed_offset[8];
	uint8_t last_offset[8];
};

struct descriptor_disk {
	uint8_t signature[4]; /* "desc" or "zero" */
	uint8_t trailing[4];  /* desc: bytes 4092..4095 of the sector */
	uint8_t leading[8];   /* desc: bytes 0..7; zero: length */
	uint8_t offset[8];
	uint8_t sequence[8];
};

_Static_assert(sizeof(struct entry_disk) == 64, "log entry");
_Static_assert(sizeof(struct descriptor_disk) == 32, "log descriptor");

struct entry {
	uint64_t sequence; /* 0: no valid entry starts here */
	uint32_t length, tail;
	uint32_t descriptors, descriptor_sectors;
	uint64_t flushed_offset, last_offset;
};

struct log {
	uint8_t *ring;
	uint32_t length;
	const uint8_t *guid;
	struct entry *entries; /* by sector of the ring */
	uint64_t work_left;    /* bytes that may still be checksummed */
};

static uint8_t *sector_at(const struct log *log, uint64_t pos)
{
	return log->ring + pos % log->length;
}

static const struct descriptor_disk *descriptor_at(const struct log *log,
						   uint64_t pos, uint32_t i)
{
	/* Descriptors of 32 bytes follow the header of 64, so that none
	 * crosses a sector's end. */
	uint64_t at = sizeof(struct entry_disk) +
		      (uint64_t)i * sizeof(struct descriptor_disk);

	return (const void *)(sector_at(log, pos + round_down(at, SECTOR)) +
			      at % SECTOR);
}

static bool is_data(const struct descriptor_disk *desc)
{
	return !memcmp(desc->signature, "desc", 4);
}

/* Do all descriptors and data sectors belong to the entry at pos? */
static bool contents_good(const struct log *log, uint64_t pos,
			  const struct entry *entry)
{
	uint64_t data = pos + (uint64_t)entry->descriptor_sectors * SECTOR;
	uint64_t end = pos + entry->length;

	for (uint32_t i = 0; i < entry->descriptors; i++) {
		const struct descriptor_disk *desc = descriptor_at(log, pos, i);

		if ((!is_data(desc) && memcmp(desc->signature, "zero", 4)) ||
		    le64_get(desc->sequence) != entry->sequence ||
		    le64_get(desc->offset) % SECTOR ||
		    (!is_data(desc) && le64_get(desc->leading) % SECTOR))
			return false;
	}
	for (uint32_t i = 0; i < entry->descriptors; i++) {
		const uint8_t *sector = sector_at(log, data);
		uint64_t sequence;

		if (!is_data(descriptor_at(log, pos, i)))
			continue;
		if (data == end || memcmp(sector, "data", 4) != 0)
			return false;
		sequence = (uint64_t)le32_get(sector + 4) << 32 |
			   le32_get(sector + SECTOR - 4);
		if (sequence != entry->sequence)
			return false;
		data += SECTOR;
	}
	return true;
}

static bool checksum_good(const struct log *log, uint64_t pos, uint32_t length)
{
	static const uint8_t zero[4];
	const uint8_t *first = sector_at(log, pos);
	uint32_t crc = crc32c(0, first, 4);

	crc = crc32c(crc, zero, sizeof(zero));
	crc = crc32c(crc, first + 8, SECTOR - 8);
	for (uint32_t at = SECTOR; at < length; at += SECTOR)
		crc = crc32c(crc, sector_at(log, pos + at), SECTOR);
	return crc == le32_get(first + 4);
}

/* Decode the entry at pos; its sequence stays 0 unless it is valid. */
static int scan_entry(struct log *log, uint32_t pos, struct error *err)
{
	const struct entry_disk *disk = (const void *)sector_at(log, pos);
	struct entry entry = {
		.sequence = le64_get(disk->sequence),
		.length = le32_get(disk->length),
		.tail = le32_get(disk->tail),
		.descriptors = le32_get(disk->descriptors),
		.flushed_offset = le64_get(disk->flushed_offset),
		.last_offset = le64_get(disk->last_offset),
	};
	uint64_t bytes = sizeof(*disk) + (uint64_t)entry.descriptors *
					 sizeof(struct descriptor_disk);

	if (memcmp(disk->signature, "loge", 4) != 0 ||
	    memcmp(disk->log_guid, log->guid, 16) != 0 ||
	    entry.length % SECTOR || entry.length > log->length ||
	    entry.tail % SECTOR || entry.tail >= log->length ||
	    bytes > entry.length)
		return 0;
	entry.descriptor_sectors = (uint32_t)div_round_up(bytes, SECTOR);
	if (!contents_good(log, pos, &entry))
		return 0;
	if (entry.length > log->work_left)
		return error_set(err, ERR_CORRUPT, "log: entries lie within "
				 "one another");
	log->work_left -= entry.length;
	if (checksum_good(log, pos, entry.length))
		log->entries[pos / SECTOR] = entry;
	return 0;
}

/* Does a chain of entries lead from the tail that head names to it? */
static bool reaches_head(const struct log *log, uint32_t head)
{
	const struct entry *last = &log->entries[head / SECTOR];
	uint32_t pos = last->tail;
	uint64_t walked = 0;

	while (walked < log->length) {
		const struct entry *entry = &log->entries[pos / SECTOR];
		const struct entry *next;

		if (!entry->sequence)
			return false;
		if (pos == head)
			return true;
		walked += entry->length;
		pos = (pos + entry->length) % log->length;
		next = &log->entries[pos / SECTOR];
		if (next->sequence != entry->sequence + 1)
			return false;
	}
	return false;
}

/* The head of the active sequence: the newest entry whose tail leads to it.
 * Its place in the ring; log->length if there is none. */
static uint32_t find_head(const struct log *log)
{
	uint32_t head = log->length;
	uint64_t newest = 0;

	for (uint32_t pos = 0; pos < log->length; pos += SECTOR) {
		uint64_t sequence = log->entries[pos / SECTOR].sequence;

		if (sequence > newest && reaches_head(log, pos)) {
			newest = sequence;
			head = pos;
		}
	}
	return head;
}

/* The writes of the active sequence, in order. */
struct replay {
	struct overlay_write *writes;
	size_t count;
	uint32_t entries;
	uint64_t file_size; /* afterwards */
};

static int add_write(struct replay *replay, const struct descriptor_disk *desc,
		     uint8_t *sector, struct error *err)
{
	struct overlay_write *write = &replay->writes[replay->count];

	write->offset = le64_get(desc->offset);
	write->length = sector ? SECTOR : le64_get(desc->leading);
	write->data = sector;
	if (!in_range(write->offset, write->length, FILE_BYTES_MAX))
		return error_set(err, ERR_CORRUPT, "log: a write of %llu "
				 "bytes at %llu is too far out",
				 (unsigned long long)write->length,
				 (unsigned long long)write->offset);
	if (sector) {
		/* Where the sector has its signature and sequence number, the
		 * bytes proper are in the descriptor. */
		memcpy(sector, desc->leading, 8);
		memcpy(sector + SECTOR - 4, desc->trailing, 4);
		replay->file_size = max_u64(replay->file_size,
					    write->offset + SECTOR);
	}
	if (write->length)
		replay->count++;
	return 0;
}

static int add_entry(struct replay *replay, const struct log *log,
		     uint32_t pos, struct error *err)
{
	const struct entry *entry = &log->entries[pos / SECTOR];
	uint64_t data = pos + (uint64_t)entry->descriptor_sectors * SECTOR;

	replay->entries++;
	for (uint32_t i = 0; i < entry->descriptors; i++) {
		const struct descriptor_disk *desc = descriptor_at(log, pos, i);
		uint8_t *sector = NULL;

		if (is_data(desc)) {
			sector = sector_at(log, data);
			data += SECTOR;
		}
		if (add_write(replay, desc, sector, err))
			return -1;
	}
	return 0;
}

/* Where the entry behind the one at pos starts. */
static uint32_t next_entry(const struct log *log, uint32_t pos)
{
	return (pos + log->entries[pos / SECTOR].length) % log->length;
}

static int collect(struct replay *replay, const struct log *log,
		   uint32_t head, struct error *err)
{
	uint32_t pos = log->entries[head / SECTOR].tail;
	size_t descriptors = log->entries[head / SECTOR].descriptors;

	for (uint32_t p = pos; p != head; p = next_entry(log, p))
		descriptors += log->entries[p / SECTOR].descriptors;
	replay->writes = calloc(descriptors + 1, sizeof(*replay->writes));
	if (!replay->writes)
		return error_nomem(err);
	for (; pos != head; pos = next_entry(log, pos))
		if (add_entry(replay, log, pos, err))
			return -1;
	return add_entry(replay, log, head, err);
}

static int replay_ring(struct vhdx_map *map, struct log *log,
		       struct error *err)
{
	struct source *file = map->map.source;
	struct replay replay = { .file_size = file->size };
	const struct entry *last;
	uint32_t head;
	int ret;

	for (uint32_t pos = 0; pos < log->length; pos += SECTOR)
		if (scan_entry(log, pos, err))
			return -1;
	head = find_head(log);
	if (head == log->length)
		return error_set(err, ERR_CORRUPT, "the disk was not closed "
				 "properly and its log holds no complete "
				 "sequence of entries");
	last = &log->entries[head / SECTOR];
	if (file->size < last->flushed_offset)
		return error_set(err, ERR_CORRUPT, "the file has %llu bytes, "
				 "but had %llu when its log was written: it "
				 "was cut off", (unsigned long long)file->size,
				 (unsigned long long)last->flushed_offset);
	if (last->last_offset > FILE_BYTES_MAX - VHDX_MIB)
		return error_set(err, ERR_CORRUPT, "log: file size %llu is "
				 "too large",
				 (unsigned long long)last->last_offset);
	replay.file_size = max_u64(file->size,
				   div_round_up(last->last_offset, VHDX_MIB) *
				   VHDX_MIB);
	ret = collect(&replay, log, head, err);
	if (!ret)
		ret = source_overlay(&map->content, file, replay.file_size,
				     replay.writes, replay.count, map->budget,
				     err);
	map->log_entries = replay.entries;
	free(replay.writes);
	return ret;
}

static int read_ring(struct vhdx_map *map, struct error *err)
{
	struct log log = { .length = map->header.log_length,
			   .guid = map->header.log_guid,
			   .work_left = 8ull * map->header.log_length };
	AUTO_FREE uint8_t *ring = malloc(log.length);
	AUTO_FREE struct entry *entries = calloc(log.length / SECTOR,
						 sizeof(*entries));

	log.ring = ring;
	log.entries = entries;
	if (!ring || !entries)
		return error_nomem(err);
	if (source_read(map->map.source, map->header.log_offset, ring,
			log.length, 0, err))
		return error_prefix(err, "log");
	return replay_ring(map, &log, err);
}

static int check_place(const struct vhdx_header *header, struct error *err)
{
	if (header->log_version != 0)
		return error_set(err, ERR_UNSUPPORTED, "log version %u; only "
				 "0 is known", header->log_version);
	if (header->log_length == 0 || header->log_length % VHDX_MIB ||
	    header->log_offset < VHDX_MIB || header->log_offset % VHDX_MIB)
		return error_set(err, ERR_CORRUPT, "a log of %u bytes at %llu "
				 "cannot be", header->log_length,
				 (unsigned long long)header->log_offset);
	if (header->log_length > LOG_BYTES_MAX)
		return error_set(err, ERR_LIMIT, "a log of %u bytes is above "
				 "the limit of %u", header->log_length,
				 LOG_BYTES_MAX);
	return 0;
}

int vhdx_replay_log(struct vhdx_map *map, const struct open_args *args,
		    struct error *err)
{
	uint64_t memory = (uint64_t)map->header.log_length * LOG_MEMORY;
	int ret;

	if (!map->header.is_dirty) {
		map->content = source_ref(map->map.source);
		return 0;
	}
	if (check_place(&map->header, err))
		return -1;
	if (map->budget &&
	    budget_reserve(map->budget, memory, "replaying the log", err))
		return -1;
	ret = read_ring(map, err);
	if (map->budget)
		budget_release(map->budget, memory);
	if (!ret)
		open_warn(args, "the disk was not closed properly: its log (%u "
			  "entries) is applied in memory", map->log_entries);
	return ret;
}
