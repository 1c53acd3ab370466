/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Doubly linked lists: a ring through the items and its head. An item that is
 * in no list is a ring of its own. */
#ifndef VMIEFS_RING_H
#define VMIEFS_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring {
	struct ring *prev, *next;
};

/* The struct of this type whose `member` is the ring at `link`. */
#define ring_item(link, type, member)                                          \
	((type *)(void *)((char *)(link) - offsetof(type, member)))

static inline void ring_init(struct ring *ring)
{
	ring->prev = ring->next = ring;
}

static inline bool ring_is_empty(const struct ring *head)
{
	return head->next == head;
}

static inline void ring_remove(struct ring *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	ring_init(item);
}

/* Put item, which is in no list, at the end. */
static inline void ring_append(struct ring *head, struct ring *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

#endif
