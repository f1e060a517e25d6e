/* diff.c - unified diffs of the guest's text files, by the greedy algorithm of E. Myers,
 * "An O(ND) Difference Algorithm and Its Variations" (1986), with a bounded effort.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/util.h"

#define CONTEXT 3
#define MAX_EDITS 2000 /* more differences than this: everything goes, everything comes */

typedef struct
{
  char op; /* ' ', '-' or '+' */
  guint a, b;
} Edit;

static gboolean
is_text (GBytes *bytes)
{
  gsize n;
  const char *data = bytes ? g_bytes_get_data (bytes, &n) : NULL;

  return !data || !memchr (data, 0, n);
}

/* Lines with their line ends. */
static GPtrArray *
split (GBytes *bytes)
{
  GPtrArray *out = g_ptr_array_new_with_free_func (g_free);
  gsize size = 0;
  const char *p = bytes ? g_bytes_get_data (bytes, &size) : NULL;
  const char *end = p ? p + size : NULL;

  while (p < end)
    {
      const char *nl = memchr (p, '\n', (gsize)(end - p));
      gsize n = nl ? (gsize)(nl + 1 - p) : (gsize)(end - p);
      g_ptr_array_add (out, g_strndup (p, n));
      p += n;
    }
  return out;
}

/* Whether each line ends as on DOS and Windows; so do those of no file at all. */
static gboolean
is_crlf (const GPtrArray *lines)
{
  for (guint i = 0; i < lines->len; i++)
    if (g_str_has_suffix (lines->pdata[i], "\n") && !g_str_has_suffix (lines->pdata[i], "\r\n"))
      return FALSE;
  return TRUE;
}

/* Once that is said for all of them, a line ends as anywhere else. Returns how many there were. */
static guint
strip_cr (GPtrArray *lines)
{
  guint n = 0;

  for (guint i = 0; i < lines->len; i++)
    {
      char *line = lines->pdata[i];
      gsize length = strlen (line);
      if (!g_str_has_suffix (line, "\r\n"))
        continue;
      memcpy (line + length - 2, "\n", 2);
      n++;
    }
  return n;
}

static gboolean
same (GPtrArray *a, guint i, GPtrArray *b, guint j)
{
  return strcmp (a->pdata[i], b->pdata[j]) == 0;
}

static void
emit (GArray *edits, char op, guint a, guint b)
{
  Edit e = {op, a, b};
  g_array_append_val (edits, e);
}

static void
replace_all (GArray *edits, guint n, guint m)
{
  for (guint i = 0; i < n; i++)
    emit (edits, '-', i, 0);
  for (guint j = 0; j < m; j++)
    emit (edits, '+', n, j);
}

/* The edits from A to B, in order. */
static GArray *
compare (GPtrArray *a, GPtrArray *b)
{
  GArray *edits = g_array_new (FALSE, FALSE, sizeof (Edit));
  int n = (int)a->len, m = (int)b->len, max = MIN (n + m, MAX_EDITS), found = -1;
  g_autoptr (GPtrArray) trace = g_ptr_array_new_with_free_func (g_free);
  gsize width = 2 * (gsize)max + 3;
  g_autofree int *v = g_new0 (int, width);
  int *mid = v + max + 1;

  for (int d = 0; d <= max && found < 0; d++)
    {
      g_ptr_array_add (trace, g_memdup2 (mid - d - 1, (2 * (gsize)d + 3) * sizeof (int)));
      for (int k = -d; k <= d && found < 0; k += 2)
        {
          int x = k == -d || (k != d && mid[k - 1] < mid[k + 1]) ? mid[k + 1] : mid[k - 1] + 1;
          int y = x - k;
          while (x < n && y < m && same (a, (guint)x, b, (guint)y))
            x++, y++;
          mid[k] = x;
          if (x >= n && y >= m)
            found = d;
        }
    }
  if (found < 0)
    {
      replace_all (edits, (guint)n, (guint)m);
      return edits;
    }

  for (int d = found, x = n, y = m; x > 0 || y > 0; d--)
    {
      const int *w = (int *)trace->pdata[d] + d + 1;
      int k = x - y;
      int previous = k == -d || (k != d && w[k - 1] < w[k + 1]) ? k + 1 : k - 1;
      int px = d == 0 ? 0 : w[previous], py = d == 0 ? 0 : px - previous;

      while (x > px && y > py)
        x--, y--, emit (edits, ' ', (guint)x, (guint)y);
      if (d == 0)
        break;
      if (x == px)
        y--, emit (edits, '+', (guint)x, (guint)y);
      else
        x--, emit (edits, '-', (guint)x, (guint)y);
    }
  for (guint i = 0, j = edits->len; i + 1 < j; i++)
    {
      Edit t = g_array_index (edits, Edit, i);
      j--;
      g_array_index (edits, Edit, i) = g_array_index (edits, Edit, j);
      g_array_index (edits, Edit, j) = t;
    }
  return edits;
}

static void
print_hunk (GString *out, GArray *edits, guint from, guint to, GPtrArray *a, GPtrArray *b)
{
  Edit *e = &g_array_index (edits, Edit, from);
  guint old = 0, new = 0;

  for (guint i = from; i < to; i++)
    {
      char op = g_array_index (edits, Edit, i).op;
      old += op != '+';
      new += op != '-';
    }
  g_string_append_printf (out, "@@ -%u,%u +%u,%u @@\n", old ? e->a + 1 : e->a, old,
                          new ? e->b + 1 : e->b, new);
  for (guint i = from; i < to; i++)
    {
      Edit *x = &g_array_index (edits, Edit, i);
      const char *line = x->op == '+' ? b->pdata[x->b] : a->pdata[x->a];
      g_autofree char *safe = h2k_escape_text (line, -1);
      g_string_append_c (out, x->op);
      g_string_append (out, safe);
      if (!g_str_has_suffix (safe, "\n"))
        g_string_append (out, "\n\\ No newline at end of file\n");
    }
}

/* '+' edits carry the position in A, '-' edits none in B: fill it in for the hunk headers. */
static void
number_edits (GArray *edits)
{
  guint a = 0, b = 0;

  for (guint i = 0; i < edits->len; i++)
    {
      Edit *e = &g_array_index (edits, Edit, i);
      e->a = a;
      e->b = b;
      a += e->op != '+';
      b += e->op != '-';
    }
}

char *
h2k_text_diff (const char *path, GBytes *before, GBytes *after)
{
  GString *out = g_string_new (NULL);
  g_autoptr (GPtrArray) a = split (before), b = split (after);
  g_autoptr (GArray) edits = NULL;
  g_autofree char *safe_path = h2k_escape_text (path, -1);

  if (!is_text (before) || !is_text (after))
    {
      g_string_append_printf (out,
                              "Binary file %s: %" G_GSIZE_FORMAT " -> %" G_GSIZE_FORMAT " bytes\n",
                              safe_path, before ? g_bytes_get_size (before) : 0,
                              after ? g_bytes_get_size (after) : 0);
      return g_string_free (out, FALSE);
    }
  /* Where only some lines have them, or only one of the two, each line shows its own. */
  if (is_crlf (a) && is_crlf (b) && strip_cr (a) + strip_cr (b))
    g_string_append (out, "(CRLF line ends)\n");
  edits = compare (a, b);
  number_edits (edits);
  g_string_append_printf (out, before ? "--- a%s\n" : "--- /dev/null\n", safe_path);
  g_string_append_printf (out, after ? "+++ b%s\n" : "+++ /dev/null\n", safe_path);
  for (guint i = 0; i < edits->len;)
    {
      guint from, to, quiet = 0;
      if (g_array_index (edits, Edit, i).op == ' ')
        {
          i++;
          continue;
        }
      from = i > CONTEXT ? i - CONTEXT : 0;
      for (to = i; to < edits->len && quiet <= 2 * CONTEXT; to++)
        quiet = g_array_index (edits, Edit, to).op == ' ' ? quiet + 1 : 0;
      if (quiet > CONTEXT)
        to -= quiet - CONTEXT;
      print_hunk (out, edits, from, to, a, b);
      i = to;
    }
  return g_string_free (out, FALSE);
}
