/* regf.h - the file format of registry hives: base block, bins, cells, keys and values, read from a
 * private copy of the file.
 *
 * Everything in the file is hostile: a cell is looked at only when it is an allocated one of an
 * intact bin (h2k_regf_check_bins()) and long enough. Offsets are as in the format: in bytes from
 * the first bin, 0xffffffff is none.
 *
 * Format: "Windows registry file format specification", M. Suhanov.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "registry/hive.h"
#include "util/util.h"

#define H2K_REGF_BASE 4096u      /* bytes of the base block, and so the place of the first bin */
#define H2K_REGF_PAGE 4096u      /* bins are multiples of it */
#define H2K_REGF_MAX 0x80000000u /* bytes of bins: offsets of Windows have 31 bits */
#define H2K_REGF_NONE 0xffffffffu
#define H2K_REGF_BIG 16344u  /* data that is longer is in segments of so many bytes, from 1.4 on */
#define H2K_REGF_DEPTH 1024u /* levels of keys; Windows has 512 */

typedef struct __attribute__ ((packed))
{
  char magic[4]; /* "regf" */
  guint32 sequence1;
  guint32 sequence2;
  guint64 written; /* FILETIME */
  guint32 major;
  guint32 minor;
  guint32 type;    /* 0: hive; 1, 2: old log; 6: new log */
  guint32 format;  /* 1 */
  guint32 root;    /* offset of the root's cell */
  guint32 length;  /* of all bins */
  guint32 cluster; /* 1 */
  guint8 name[64]; /* UTF-16LE */
  guint8 rm_id[16];
  guint8 log_id[16];
  guint32 flags;
  guint8 tm_id[16];
  char guid_magic[4];
  guint64 reorganized;
  guint8 reserved[332];
  guint32 checksum;
} H2kRegfBase;
G_STATIC_ASSERT (sizeof (H2kRegfBase) == 512);

#define H2K_REGF_FLAG_PENDING 1u /* transactions */
#define H2K_REGF_FLAG_LAYERED 2u /* from 1.6 on: holds layered keys */

typedef struct __attribute__ ((packed))
{
  char magic[4]; /* "hbin" */
  guint32 offset;
  guint32 length;
  guint8 reserved[8];
  guint64 written; /* FILETIME, of the first bin only: a copy of the base block's */
  guint32 spare;
} H2kRegfBin;
G_STATIC_ASSERT (sizeof (H2kRegfBin) == 32);

/* A cell's length comes before it: negative when the cell is allocated, counting itself. */

typedef struct __attribute__ ((packed))
{
  char magic[2]; /* "nk" */
  guint16 flags;
  guint64 written; /* FILETIME */
  guint32 access;
  guint32 parent;
  guint32 n_keys;
  guint32 n_volatile_keys;
  guint32 keys; /* offset of a list */
  guint32 volatile_keys;
  guint32 n_values;
  guint32 values; /* offset of an array of offsets */
  guint32 security;
  guint32 class_name;
  guint32 max_key_name; /* bytes, in its lower half */
  guint32 max_key_class;
  guint32 max_value_name;
  guint32 max_value_data;
  guint32 work;
  guint16 name_length;
  guint16 class_length;
  guint8 name[];
} H2kRegfKey;
G_STATIC_ASSERT (sizeof (H2kRegfKey) == 76);

#define H2K_REGF_KEY_NO_DELETE 0x08u
#define H2K_REGF_KEY_LATIN1 0x20u
#define H2K_REGF_KEY_PREDEFINED 0x40u /* n_values holds a handle */

typedef struct __attribute__ ((packed))
{
  char magic[2]; /* "vk" */
  guint16 name_length;
  guint32 length; /* top bit: up to 4 bytes of data are in place of their offset */
  guint32 data;
  guint32 type;
  guint16 flags;
  guint16 spare;
  guint8 name[];
} H2kRegfValue;
G_STATIC_ASSERT (sizeof (H2kRegfValue) == 20);

#define H2K_REGF_VALUE_LATIN1 1u
#define H2K_REGF_INLINE 0x80000000u

typedef struct __attribute__ ((packed))
{
  char magic[2]; /* "db" */
  guint16 n;
  guint32 segments; /* offset of an array of offsets */
} H2kRegfBig;
G_STATIC_ASSERT (sizeof (H2kRegfBig) == 8);

typedef struct __attribute__ ((packed))
{
  char magic[2]; /* "sk" */
  guint16 reserved;
  guint32 next;
  guint32 previous;
  guint32 n_references;
  guint32 length;
  guint8 descriptor[];
} H2kRegfSecurity;
G_STATIC_ASSERT (sizeof (H2kRegfSecurity) == 20);

/* A list of keys: "lf" and "lh" have an offset and 4 bytes of name or hash each, "li" and "ri"
 * offsets alone; those of "ri" are of lists. */
typedef struct __attribute__ ((packed))
{
  char magic[2];
  guint16 n;
  guint32 items[];
} H2kRegfList;
G_STATIC_ASSERT (sizeof (H2kRegfList) == 4);

/* A copy of a hive in an unlinked file, mapped. */
typedef struct
{
  int fd;
  guint8 *data;
  gsize size;     /* bytes of the file and the mapping; a multiple of 4096 */
  guint32 length; /* bytes of bins that are intact: set by h2k_regf_check_bins() */
  guint8 *cells;  /* a bit each 8 bytes of bins: an allocated cell starts there */
} H2kRegf;

/* An unlinked file in TEMP_DIR (NULL: $TMPDIR or /var/tmp). -1: error. */
int h2k_regf_temp_file (const char *temp_dir, GError **error);
/* One of SIZE bytes, zeros, mapped. Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
H2kRegf *h2k_regf_new (const char *temp_dir, gsize size, GError **error);
void h2k_regf_free (H2kRegf *regf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kRegf, h2k_regf_free)
/* The file FD, which is taken over, as it is. */
H2kRegf *h2k_regf_map (int fd, GError **error);
/* Pointers into the mapping become invalid. */
gboolean h2k_regf_resize (H2kRegf *regf, gsize size, GError **error);

static inline H2kRegfBase *
h2k_regf_base (const H2kRegf *regf)
{
  return (H2kRegfBase *)regf->data;
}

/* The checksum of the base block at BASE (512 bytes), as it ought to be. */
guint32 h2k_regf_checksum (const void *base);
/* Whether the 512 bytes at BASE are a base block with the right checksum. */
gboolean h2k_regf_base_is_valid (const void *base);
/* Make the base block that of a clean hive of type 0 with SEQUENCE, or a later one if that had a
 * checksum which hivex does not know of. */
void h2k_regf_set_clean (H2kRegf *regf, guint32 sequence);

/* Walk all bins and their cells: sets LENGTH and CELLS. Returns what is wrong, or NULL; then LENGTH
 * is that of the base block. With REPAIR, what is behind a broken cell of a bin becomes a free one,
 * and LENGTH ends at the first bin that is none. The caller's. */
char *h2k_regf_check_bins (H2kRegf *regf, gboolean repair);

/* The allocated cell at OFFSET when it has NEED bytes or more, without its length, which LENGTH
 * (may be NULL) gets; else NULL. */
const void *h2k_regf_cell (const H2kRegf *regf, guint32 offset, gsize need, gsize *length);

/* The allocated cell at OFFSET becomes a free one. */
void h2k_regf_free_cell (H2kRegf *regf, guint32 offset);

/* The key at OFFSET with all of its name, or NULL. */
const H2kRegfKey *h2k_regf_key (const H2kRegf *regf, guint32 offset);
/* Its name and that of a value; as h2k_reg_decode(). The caller's. */
char *h2k_regf_key_name (const H2kRegfKey *key);
/* Append the offsets of the keys in KEY to KEYS (guint32). FALSE: damaged. */
gboolean h2k_regf_list_keys (const H2kRegf *regf, const H2kRegfKey *key, GArray *keys);
/* The array of N offsets of the values of KEY; NULL when there are none (*N is 0), or damaged. */
const guint8 *h2k_regf_list_values (const H2kRegf *regf, const H2kRegfKey *key, guint32 *n);
/* The value at OFFSET with all of its name and data; or NULL. */
const H2kRegfValue *h2k_regf_value (const H2kRegf *regf, guint32 offset);
/* Whether LENGTH bytes of data are in segments. */
gboolean h2k_regf_is_big (const H2kRegf *regf, guint32 length);
char *h2k_regf_value_name (const H2kRegfValue *value);
/* The data of VALUE, which h2k_regf_value() returned. */
GBytes *h2k_regf_value_data (const H2kRegf *regf, const H2kRegfValue *value);
