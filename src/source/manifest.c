/* manifest.c - the checksums of an OVF package: DMTF DSP0243, "Integrity and authenticity of OVF
 * packages", as OpenSSL's dgst and the BSD checksum programs write them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/private.h"

static const struct
{
  const char *word;
  GChecksumType algorithm;
} algorithms[] = {
    {"SHA1", G_CHECKSUM_SHA1},      {"SHA-1", G_CHECKSUM_SHA1},     {"SHA256", G_CHECKSUM_SHA256},
    {"SHA-256", G_CHECKSUM_SHA256}, {"SHA384", G_CHECKSUM_SHA384},  {"SHA-384", G_CHECKSUM_SHA384},
    {"SHA512", G_CHECKSUM_SHA512},  {"SHA-512", G_CHECKSUM_SHA512},
};

static void
entry_free (H2kManifestEntry *entry)
{
  g_free (entry->file);
  g_free (entry->digest);
  g_free (entry);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kManifestEntry, entry_free)

static gboolean
find_algorithm (const char *word, GChecksumType *algorithm)
{
  for (gsize i = 0; i < G_N_ELEMENTS (algorithms); i++)
    if (g_ascii_strcasecmp (algorithms[i].word, word) == 0)
      {
        *algorithm = algorithms[i].algorithm;
        return TRUE;
      }
  return FALSE;
}

static gboolean
is_digest (const char *text, GChecksumType algorithm)
{
  gsize n = strspn (text, "0123456789abcdefABCDEF");

  return text[n] == '\0' && n == 2 * (gsize)g_checksum_type_get_length (algorithm);
}

/* Cut LINE, "WORD (FILE) = DIGEST", into its parts. A file's name may have parentheses in it. */
static gboolean
split_line (char *line, char **word, char **file, char **digest)
{
  char *equals = strrchr (line, '=');
  char *open = strchr (line, '(');

  if (!equals || !open || open > equals)
    return FALSE;
  *equals = '\0';
  g_strchomp (line);
  if (!g_str_has_suffix (open, ")"))
    return FALSE;
  line[strlen (line) - 1] = '\0';
  *open = '\0';
  *word = g_strstrip (line);
  *file = open + 1;
  *digest = g_strstrip (equals + 1);
  return TRUE;
}

static H2kManifestEntry *
parse_line (char *line, guint number, const char *name, GError **error)
{
  g_autoptr (H2kManifestEntry) entry = g_new0 (H2kManifestEntry, 1);
  g_autofree char *safe = h2k_escape_text (line, (gssize)MIN (strlen (line), 80));
  char *word, *file, *digest;

  if (!split_line (line, &word, &file, &digest))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: line %u of the manifest is not understood: \"%s\" (expected "
                   "\"SHA256(file)= checksum\"): it is damaged or not a manifest",
                   name, number, safe);
      return NULL;
    }
  if (!find_algorithm (word, &entry->algorithm))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: line %u of the manifest has a checksum of an unknown kind: \"%s\"; SHA1, "
                   "SHA256, SHA384 and SHA512 can be verified: write the manifest anew",
                   name, number, safe);
      return NULL;
    }
  if (!is_digest (digest, entry->algorithm))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: line %u of the manifest has no checksum of %" G_GSSIZE_FORMAT
                   " hexadecimal digits: \"%s\": it is truncated or damaged",
                   name, number, 2 * g_checksum_type_get_length (entry->algorithm), safe);
      return NULL;
    }
  entry->file = h2k_plain_path (file, name, error);
  if (!entry->file)
    return NULL;
  entry->digest = g_ascii_strdown (digest, -1);
  return g_steal_pointer (&entry);
}

/* Add ENTRY, which ENTRIES then owns; SEEN maps algorithm and file to the digest. */
static gboolean
add_entry (GPtrArray *entries, GHashTable *seen, H2kManifestEntry *entry, guint number,
           const char *name, GError **error)
{
  char *key = g_strdup_printf ("%d/%s", (int)entry->algorithm, entry->file);

  g_ptr_array_add (entries, entry);
  if (g_hash_table_insert (seen, key, entry))
    return TRUE;
  g_autofree char *safe = h2k_escape_text (entry->file, -1);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: line %u of the manifest has a second checksum of \"%s\"; keep the right one",
               name, number, safe);
  return FALSE;
}

GPtrArray *
h2k_manifest_parse (const char *text, gsize size, const char *name, GError **error)
{
  g_autoptr (GPtrArray) entries = g_ptr_array_new_with_free_func ((GDestroyNotify)entry_free);
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autofree char *copy = NULL;
  guint number = 1;
  char *end;

  copy = h2k_description_copy (text, size, name, error);
  if (!copy)
    return NULL;
  for (char *line = copy + (g_str_has_prefix (copy, "\xef\xbb\xbf") ? 3 : 0); line;
       line = end, number++)
    {
      H2kManifestEntry *entry;
      end = strchr (line, '\n');
      if (end)
        *end++ = '\0';
      g_strstrip (line);
      if (*line == '\0')
        continue;
      entry = parse_line (line, number, name, error);
      if (!entry || !add_entry (entries, seen, entry, number, name, error))
        return NULL;
    }
  return g_steal_pointer (&entries);
}
