/* hive.h - Windows registry hives: read as Windows would see them, and changed so that it keeps the
 * change.
 *
 * A hive is a file with up to three transaction logs beside it (.LOG, .LOG1, .LOG2). Windows
 * applies these to a hive that is dirty when it loads it, over whatever was written into it
 * meanwhile. So they are applied here first, to a copy (regf-log.h), and what is read and edited is
 * the result. The file itself changes in h2k_hive_commit() alone.
 *
 * Keys are paths from the root of the hive with backslashes, without one in front:
 * "ControlSet001\\Services\\viostor"; "" is the root. Names are UTF-8 and are compared without
 * case. Names and texts are the guest's, so hostile: h2k_escape_text() before people see them;
 * messages of errors have it done.
 *
 * Memory: a hive open for reading is mapped, one open for writing is there once, too. A hive may
 * have 2 GiB. Temporary files have no name.
 *
 * Thread-safety: one hive is used by one thread at a time, as its filesystem is.
 *
 * Errors of all functions: H2K_ERROR_FORMAT (no hive, or a damaged one), H2K_ERROR_UNSUPPORTED (a
 * version that is not known), H2K_ERROR_REPAIR (an edit that cannot be made), H2K_ERROR_NO_SPACE
 * and H2K_ERROR_OUTPUT (temporary files), and those of the filesystem.
 *
 * Format: "Windows registry file format specification", M. Suhanov; edits are hivex's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

typedef struct _H2kHive H2kHive;

/* --- values ----------------------------------------------------------------------------------- */

typedef enum
{
  H2K_REG_NONE = 0,
  H2K_REG_SZ = 1,
  H2K_REG_EXPAND_SZ = 2,
  H2K_REG_BINARY = 3,
  H2K_REG_DWORD = 4,
  H2K_REG_DWORD_BIG_ENDIAN = 5,
  H2K_REG_LINK = 6,
  H2K_REG_MULTI_SZ = 7,
  H2K_REG_QWORD = 11,
} H2kRegType;

typedef struct
{
  char *name;   /* UTF-8; "" is the default value of the key */
  guint32 type; /* mostly an H2kRegType, but any number is possible (DriverDatabase has such) */
  GBytes *data; /* as in the hive: texts are UTF-16LE with the NUL at the end, numbers LE */
} H2kRegValue;

void h2k_reg_value_free (H2kRegValue *value);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kRegValue, h2k_reg_value_free)

/* Values to be set; the caller's. TEXT is UTF-8; the NULs at the end are added. */
H2kRegValue *h2k_reg_dword (const char *name, guint32 value);
H2kRegValue *h2k_reg_qword (const char *name, guint64 value);
/* TYPE: H2K_REG_SZ, H2K_REG_EXPAND_SZ. */
H2kRegValue *h2k_reg_string (const char *name, H2kRegType type, const char *text);
H2kRegValue *h2k_reg_strings (const char *name, const char *const *texts);
H2kRegValue *h2k_reg_binary (const char *name, gconstpointer data, gsize length);
/* REG_NONE without data. */
H2kRegValue *h2k_reg_none (const char *name);
/* Any TYPE with any data. */
H2kRegValue *h2k_reg_new (const char *name, guint32 type, gconstpointer data, gsize length);

/* What a value says; FALSE or NULL when it is of another type or has another length. A text ends at
 * its first NUL or at its end; unpaired surrogates become U+FFFD. The caller's. */
gboolean h2k_reg_value_dword (const H2kRegValue *value, guint32 *out);
gboolean h2k_reg_value_qword (const H2kRegValue *value, guint64 *out);
char *h2k_reg_value_string (const H2kRegValue *value);
/* REG_MULTI_SZ; ends at the first empty text. */
GStrv h2k_reg_value_strings (const H2kRegValue *value);

/* VALUE without its name for people and reports, as in a .reg file: dword:0x00000003, "text",
 * hex(2):25,00. REG_MULTI_SZ is "a", "b"; REG_EXPAND_SZ is expand:"text". Escaped; what is longer
 * than about 200 characters is shortened, and its length told. VALUE may be NULL: "(none)". The
 * caller's. */
char *h2k_reg_value_to_text (const H2kRegValue *value);

/* --- opening ---------------------------------------------------------------------------------- */

typedef struct
{
  guint32 major, minor;      /* 1.3 (XP and later), 1.5 (XP and later, big values), 1.6 (layered) */
  gboolean is_differencing;  /* 1.6: it lies on another hive, of which it holds only the changes */
  guint64 size;              /* bytes of the file as it was found */
  gboolean was_dirty;        /* its last write had not been completed */
  gboolean header_recovered; /* its base block was damaged and came from a log */
  GPtrArray *replayed;       /* char *: names of the logs that were applied, in this order */
  guint n_entries;           /* entries of these that were applied; of an old log: 1 */
  guint n_pages;             /* pages that these have; of an old log: sectors */
  GPtrArray *notes;          /* char *: escaped; why logs were not applied and what else is odd */
  GPtrArray *backups;        /* char *: paths of the files that a commit made */
  guint32 sequence;          /* as a clean hive with all this would have it */
  guint64 written;           /* FILETIME of the last write: 100 ns since 1601-01-01 UTC */
} H2kHiveInfo;

/* Open the hive PATH of FS, which must live longer. WRITABLE: with the intention to edit it; FS has
 * to be writable by h2k_hive_commit(). TEMP_DIR may be NULL: $TMPDIR or /var/tmp. A dirty hive
 * without a log that fits is opened as it is, as Windows would, with a note; one whose base block
 * is damaged and in no log is H2K_ERROR_FORMAT. */
H2kHive *h2k_hive_open (H2kFs *fs, const char *path, gboolean writable, const char *temp_dir,
                        GError **error);
/* Edits that were not committed are gone. */
void h2k_hive_free (H2kHive *hive);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kHive, h2k_hive_free)

/* Owned by HIVE; h2k_hive_commit() changes BACKUPS, SEQUENCE and WRITTEN. */
const H2kHiveInfo *h2k_hive_info (const H2kHive *hive);
/* As given to h2k_hive_open(). */
const char *h2k_hive_path (const H2kHive *hive);

/* --- reading ---------------------------------------------------------------------------------- */

/* These never fail: what is missing is FALSE, NULL, or an empty array, and so is what is damaged
 * (of which NOTES tells). Results are the caller's. */

gboolean h2k_hive_has_key (H2kHive *hive, const char *key);
/* char *: names of the keys in KEY, in the hive's order. */
GPtrArray *h2k_hive_list_keys (H2kHive *hive, const char *key);
/* H2kRegValue *: in the hive's order. */
GPtrArray *h2k_hive_list_values (H2kHive *hive, const char *key);
H2kRegValue *h2k_hive_get (H2kHive *hive, const char *key, const char *name);

gboolean h2k_hive_get_dword (H2kHive *hive, const char *key, const char *name, guint32 *out);
gboolean h2k_hive_get_qword (H2kHive *hive, const char *key, const char *name, guint64 *out);
/* REG_SZ and REG_EXPAND_SZ. */
char *h2k_hive_get_string (H2kHive *hive, const char *key, const char *name);
/* REG_MULTI_SZ. */
GStrv h2k_hive_get_strings (H2kHive *hive, const char *key, const char *name);

/* --- editing ---------------------------------------------------------------------------------- */

/* Only on a hive that was opened as WRITABLE, and that is not damaged; single values that are only
 * keep their own key from being edited. Edits are seen by the functions above at once. An
 * edit that fails leaves the hive in a state that cannot be committed.
 *
 * What is already as it should be stays untouched: the same value, a key that exists, a name that
 * is missing when it is to be removed. */

/* VALUE is copied. Missing keys on the way are made, with the security of the one above them. */
gboolean h2k_hive_set (H2kHive *hive, const char *key, const H2kRegValue *value, GError **error);
gboolean h2k_hive_add_key (H2kHive *hive, const char *key, GError **error);
gboolean h2k_hive_remove_value (H2kHive *hive, const char *key, const char *name, GError **error);
/* With everything below it. The root cannot be removed. */
gboolean h2k_hive_remove_key (H2kHive *hive, const char *key, GError **error);

gboolean h2k_hive_is_changed (const H2kHive *hive);

/* Write the edits into the hive's file.
 *
 * When nothing was changed, nothing is written, not even when the hive was dirty. Otherwise:
 * the file and its logs, unless they are empty, are kept beside it as "NAME.h2k-backup" if there is
 * no file of that name yet; the blocks that differ are written; the logs are emptied, so that
 * nothing can be replayed over the edit; the filesystem is flushed; everything is read back: each
 * edit must be there, and every other key and value must be as before.
 *
 * The hive can be read and edited further. Errors: H2K_ERROR_REPAIR whatever the reason. */
gboolean h2k_hive_commit (H2kHive *hive, GError **error);
