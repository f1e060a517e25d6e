/* inf-private.h - what the files of the INF reader share: the text as sections, lines and fields,
 * and the rules by which decorated sections are chosen.
 *
 * A document has a sticky error: the first thing that is wrong is kept, everything after that gives
 * empty texts, and who made the document looks at it in the end (and in loops). That keeps the
 * readers of the sections free of error paths.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/inf.h"

/* One entry: KEY = FIELD, FIELD... Without quotes and comments, string keys not yet expanded. */
typedef struct
{
  guint number;      /* in the file, from 1 */
  const char *key;   /* NULL: the line has none */
  GPtrArray *fields; /* const char* */
} InfLine;

typedef struct
{
  const char *name;  /* as its first header has it */
  guint number;      /* of that header's line */
  GPtrArray *lines;  /* InfLine* */
  GHashTable *index; /* key in lower case, the first InfLine with it; NULL: not made yet */
} InfSection;

typedef struct
{
  char *name;                      /* the file's, escaped */
  const H2kWindowsRelease *target; /* the caller's */
  GStringChunk *texts;             /* all names and fields */
  GHashTable *sections;            /* name in lower case, InfSection* */
  GHashTable *strings[2];          /* key in lower case, text: of the language; of [Strings] */
  GPtrArray *warnings;             /* char* */
  gsize n_fields;                  /* in the file */
  gsize n_items;                   /* that were made of it */
  gsize n_expanded;                /* bytes */
  gsize n_looked_at;               /* lines */
  GError *error;                   /* the first */
} InfDoc;

/* inf-text.c */

/* DATA as UTF-8, line ends as they are. Errors: H2K_ERROR_FORMAT. */
char *h2k_inf_decode (const void *data, gsize size, const char *name, GError **error);

/* inf-doc.c */

/* NAME is for messages, unescaped. A document is always made; look at its error. */
InfDoc *h2k_inf_doc_new (const void *data, gsize size, const char *name,
                         const H2kWindowsRelease *target);
void h2k_inf_doc_free (InfDoc *doc);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (InfDoc, h2k_inf_doc_free)
/* Keep the error "FILE: line LINE: ..." unless there is one. LINE 0: the file as a whole. */
void h2k_inf_fail (InfDoc *doc, guint line, H2kError code, const char *format, ...)
    G_GNUC_PRINTF (4, 5);
void h2k_inf_warn (InfDoc *doc, guint line, const char *format, ...) G_GNUC_PRINTF (3, 4);
/* Count one more item that is made of the file. FALSE: there are too many, or there is an error. */
gboolean h2k_inf_charge (InfDoc *doc, guint line);

InfSection *h2k_inf_section (InfDoc *doc, const char *name);
/* The first line of SECTION (may be NULL) with KEY; NULL: none. */
InfLine *h2k_inf_first (InfSection *section, const char *key);
/* The next line of SECTION (may be NULL) with KEY, from line *CURSOR on, which becomes the one
 * behind it. NULL: no more, or there is an error. */
InfLine *h2k_inf_next (InfDoc *doc, const InfSection *section, const char *key, guint *cursor);

/* Field I of LINE (may be NULL) as it is in the file; "" when there is none. The document's. */
const char *h2k_inf_raw (const InfLine *line, guint i);
/* TEXT with string keys expanded. The caller's. */
char *h2k_inf_expand (InfDoc *doc, const char *text, guint line);
char *h2k_inf_text (InfDoc *doc, const InfLine *line, guint i);
/* As text and token. */
H2kInfText h2k_inf_token (InfDoc *doc, const char *raw, guint line);
/* Field I as a number, decimal or 0x...; DEFAULT when it is missing. Anything else is an error. */
guint32 h2k_inf_number (InfDoc *doc, const InfLine *line, guint i, guint32 def);

/* inf-target.c */

/* The sections that one Manufacturer line (NAME and its DECORATIONS) offers: the one for the
 * target, NULL when there is none. *DECORATION is the one that it was found by ("" for none). */
InfSection *h2k_inf_models (InfDoc *doc, const InfLine *line, const char *name,
                            const char **decoration);
/* The variant of NAME with ".NTamd64", ".NT" or nothing, for the target's processor. */
InfSection *h2k_inf_decorated (InfDoc *doc, const char *name);
/* "NTamd64", "NTx86", "NTarm64". Static. */
const char *h2k_inf_nt_arch (H2kWindowsArch arch);

/* inf-reg.c */

/* Add the lines of the sections that the fields of all lines KEY ("AddReg" or "DelReg") of SECTION
 * name to LIST. */
void h2k_inf_read_reg (InfDoc *doc, const InfSection *section, GPtrArray *list);
void h2k_inf_reg_free (H2kInfReg *reg);

/* inf-files.c */

/* Add what the CopyFiles lines of SECTION copy to LIST. */
void h2k_inf_read_files (InfDoc *doc, const InfSection *section, GPtrArray *list);
void h2k_inf_file_free (H2kInfFile *file);
/* The paths of all files of the package, for H2kInf's FILES. */
GPtrArray *h2k_inf_package_files (InfDoc *doc, const H2kInf *inf);

/* inf-install.c */

H2kInfInstall *h2k_inf_read_install (InfDoc *doc, const char *name, guint line);
void h2k_inf_install_free (H2kInfInstall *install);
void h2k_inf_text_clear (H2kInfText *text);
