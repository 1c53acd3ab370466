/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHD footers: two copies in dynamic and differencing disks, one in fixed
 * ones. A footer whose checksum is wrong is believed only with a warning and
 * only where something else confirms it: the other copy being identical, or
 * a size that fits the file to the byte. */
#include "config.h"

#include <stdio.h>

#include "common/checked.h"
#include "format/vhd.h"

uint32_t vhd_checksum(const void *data, size_t len, size_t at)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i < at || i >= at + 4)
			sum += p[i];
	return ~sum;
}

static void decode(struct vhd_footer *footer, const uint8_t *p,
		   uint32_t length)
{
	struct vhd_footer_disk *disk = &footer->disk;

	memset(footer, 0, sizeof(*footer));
	memcpy(disk, p, length);
	footer->there = !memcmp(disk->cookie, "conectix", 8);
	footer->checksum_good = footer->there &&
		be32_get(disk->checksum) ==
		vhd_checksum(disk, sizeof(*disk),
			     offsetof(struct vhd_footer_disk, checksum));
	footer->length = length;
	footer->type = be32_get(disk->type);
	footer->data_offset = be64_get(disk->data_offset);
	footer->current_size = be64_get(disk->current_size);
}

int vhd_read_tail(struct vhd_ends *ends, struct source *source,
		  struct error *err)
{
	uint8_t buf[VHD_FOOTER_BYTES];

	memset(ends, 0, sizeof(*ends));
	if (source->size < VHD_FOOTER_BYTES)
		return 0;
	if (source_read(source, source->size - sizeof(buf), buf, sizeof(buf),
			0, err))
		return -1;
	decode(&ends->tail, buf, VHD_FOOTER_BYTES);
	if (!ends->tail.there && !memcmp(buf + 1, "conectix", 8))
		decode(&ends->tail, buf + 1, VHD_FOOTER_BYTES - 1);
	return 0;
}

int vhd_read_head(struct vhd_ends *ends, struct source *source,
		  struct error *err)
{
	if (source->size < VHD_FOOTER_BYTES)
		return 0;
	/* A fixed disk's first sector is the guest's. */
	if (ends->tail.checksum_good && ends->tail.type == VHD_FIXED)
		return 0;
	ends->head_bytes = (uint32_t)min_u64(sizeof(ends->head), source->size);
	if (source_read(source, 0, ends->head, ends->head_bytes, 0, err))
		return -1;
	decode(&ends->copy, ends->head, VHD_FOOTER_BYTES);
	return 0;
}

int vhd_read_ends(struct vhd_ends *ends, struct source *source,
		  struct error *err)
{
	if (vhd_read_tail(ends, source, err))
		return -1;
	return vhd_read_head(ends, source, err);
}

static bool same_bytes(const struct vhd_footer *a, const struct vhd_footer *b)
{
	return a->there && b->there &&
	       !memcmp(&a->disk, &b->disk, sizeof(a->disk));
}

/* Two copies with good checksums that differ: in side issues, or in what
 * decides where the data lies? */
static int compare_good(const struct vhd_footer *tail,
			const struct vhd_footer *copy,
			const struct open_args *args, struct error *err)
{
	if (tail->type != copy->type)
		return error_set(err, ERR_CORRUPT, "the footer at the end has "
				 "disk type %u, its copy at 0 has %u",
				 tail->type, copy->type);
	if (tail->current_size != copy->current_size)
		return error_set(err, ERR_CORRUPT, "the footer at the end has "
				 "size %llu, its copy at 0 has %llu",
				 (unsigned long long)tail->current_size,
				 (unsigned long long)copy->current_size);
	if (tail->data_offset != copy->data_offset)
		return error_set(err, ERR_CORRUPT, "the footer at the end has "
				 "its header at %llu, its copy at 0 has %llu",
				 (unsigned long long)tail->data_offset,
				 (unsigned long long)copy->data_offset);
	open_warn(args, "the footer at the end and its copy at 0 differ; the "
		  "one at the end is used");
	return 0;
}

/* No copy has a good checksum. */
static int choose_bad(const struct vhd_footer **out,
		      const struct vhd_ends *ends, uint64_t file_size,
		      const struct open_args *args, struct error *err)
{
	const struct vhd_footer *tail = &ends->tail, *copy = &ends->copy;
	bool is_confirmed = same_bytes(tail, copy);

	if (!tail->there && !copy->there)
		return error_set(err, ERR_CORRUPT, "no VHD footer at the end "
				 "and no copy of it at 0");
	if (tail->there && tail->type == VHD_FIXED)
		is_confirmed = tail->data_offset == UINT64_MAX &&
			       tail->current_size == file_size - tail->length;
	if (!is_confirmed)
		return error_set(err, ERR_CORRUPT, "no VHD footer with a good "
				 "checksum (the one at the end: %s, its copy "
				 "at 0: %s)", tail->there ? "wrong" : "none",
				 copy->there ? "wrong" : "none");
	open_warn(args, "the footer's checksum is wrong (stored %#x, "
		  "calculated %#x), its content is consistent",
		  be32_get(tail->disk.checksum),
		  vhd_checksum(&tail->disk, sizeof(tail->disk),
			       offsetof(struct vhd_footer_disk, checksum)));
	*out = tail;
	return 0;
}

/* One of two has a good checksum. */
static int choose_good(const struct vhd_footer **out,
		       const struct vhd_ends *ends,
		       const struct open_args *args, struct error *err)
{
	const struct vhd_footer *tail = &ends->tail, *copy = &ends->copy;

	if (tail->checksum_good) {
		open_warn(args, "the footer's copy at 0 is %s; the footer at "
			  "the end is used", copy->there ?
			  "damaged (wrong checksum)" : "missing");
		*out = tail;
		return 0;
	}
	if (copy->type == VHD_FIXED)
		return error_set(err, ERR_CORRUPT, "a fixed disk without its "
				 "footer at the end");
	open_warn(args, "the footer at the end is %s; its copy at 0 is used",
		  tail->there ? "damaged (wrong checksum)" :
				"missing (was the file cut off?)");
	*out = copy;
	return 0;
}

int vhd_choose_footer(const struct vhd_footer **out,
		      const struct vhd_ends *ends, uint64_t file_size,
		      const struct open_args *args, struct error *err)
{
	const struct vhd_footer *tail = &ends->tail, *copy = &ends->copy;
	bool tail_good = tail->checksum_good, copy_good = copy->checksum_good;

	*out = tail;
	if (!tail_good && !copy_good)
		return choose_bad(out, ends, file_size, args, err);
	if (tail_good && tail->type == VHD_FIXED)
		return 0;
	if (!tail_good || !copy_good)
		return choose_good(out, ends, args, err);
	return same_bytes(tail, copy) ? 0 :
					compare_good(tail, copy, args, err);
}

uint64_t vhd_chs_size(const struct vhd_footer_disk *footer)
{
	/* Their disks have the current size, whatever the geometry says. */
	static const char exact[][5] = { "win ", "qem2", "d2v ", "CTXS",
					 "tap\0" };
	uint64_t cylinders = be16_get(footer->cylinders);
	uint64_t size = cylinders * footer->heads * footer->sectors *
			VHD_SECTOR;

	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
		if (!memcmp(footer->creator, exact[i], 4))
			return be64_get(footer->current_size);
	if (size == 0 || size == 65535ull * 16 * 255 * VHD_SECTOR)
		return be64_get(footer->current_size);
	return size;
}

void vhd_uuid_text(char text[VHD_UUID_TEXT], const uint8_t uuid[16])
{
	char *p = text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		snprintf(p, 3, "%02x", uuid[i]);
		p += 2;
	}
}
