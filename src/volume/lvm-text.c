/* lvm-text.c - parser for the language in which LVM2 describes volume groups.
 *
 * Sections (name { ... }) and values (name = 1, "text" or [ ... ]), and comments from # to the end
 * of the line, as in lvm.conf(5). Nothing is copied: the tree points into the text.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/lvm-text.h"

#define MAX_DEPTH 16u

typedef struct
{
  LvmText *tree;
  gsize length, at;
  /* The sections around the present place, and the last child of each: 0: none. */
  guint32 open[MAX_DEPTH], last[MAX_DEPTH];
  guint depth;
} Parser;

static LvmNode *
node_at (const LvmText *tree, guint32 i)
{
  return &g_array_index (tree->nodes, LvmNode, i);
}

/* Add NODE as the last child of the innermost open node. */
static guint32
add_node (Parser *parser, LvmNode node)
{
  guint32 index = parser->tree->nodes->len, last = parser->last[parser->depth - 1];

  g_array_append_val (parser->tree->nodes, node);
  if (last)
    node_at (parser->tree, last)->next = index;
  else
    node_at (parser->tree, parser->open[parser->depth - 1])->child = index;
  parser->last[parser->depth - 1] = index;
  return index;
}

static gboolean
push (Parser *parser, guint32 node)
{
  if (parser->depth == MAX_DEPTH)
    return FALSE;
  parser->open[parser->depth] = node;
  parser->last[parser->depth++] = 0;
  return TRUE;
}

/* The next character that means something; 0: the end. */
static char
peek (Parser *parser)
{
  const char *text = parser->tree->text;

  while (parser->at < parser->length)
    {
      char c = text[parser->at];
      if (c == '#')
        while (parser->at < parser->length && text[parser->at] != '\n')
          parser->at++;
      else if (g_ascii_isspace (c))
        parser->at++;
      else
        return c;
    }
  return 0;
}

static gboolean
take (Parser *parser, char c)
{
  if (peek (parser) != c)
    return FALSE;
  parser->at++;
  return TRUE;
}

/* The text that ends before the quotation mark; a backslash takes the next character's meaning. */
static gboolean
parse_string (Parser *parser, LvmNode *node)
{
  const char *text = parser->tree->text;

  node->kind = LVM_STRING;
  node->value = (guint32)parser->at;
  for (; parser->at < parser->length; parser->at++)
    if (text[parser->at] == '"')
      {
        node->value_length = (guint32)parser->at++ - node->value;
        return TRUE;
      }
    else if (text[parser->at] == '\\')
      parser->at++;
  return FALSE;
}

static gboolean
parse_scalar (Parser *parser, LvmNode *node)
{
  const char *text = parser->tree->text;

  if (take (parser, '"'))
    return parse_string (parser, node);
  node->kind = LVM_NUMBER;
  node->value = (guint32)parser->at;
  while (parser->at < parser->length
         && (g_ascii_isdigit (text[parser->at]) || strchr ("+-.", text[parser->at]))
         && text[parser->at])
    parser->at++;
  node->value_length = (guint32)parser->at - node->value;
  return node->value_length > 0;
}

static gboolean
parse_array (Parser *parser, LvmNode array)
{
  array.kind = LVM_ARRAY;
  if (!push (parser, add_node (parser, array)))
    return FALSE;
  while (!take (parser, ']'))
    {
      LvmNode element = {0};
      if (!parse_scalar (parser, &element))
        return FALSE;
      add_node (parser, element);
      if (!take (parser, ',') && peek (parser) != ']')
        return FALSE;
    }
  parser->depth--;
  return TRUE;
}

/* NAME = VALUE, or the beginning of a section. */
static gboolean
parse_entry (Parser *parser)
{
  const char *text = parser->tree->text;
  LvmNode node = {.key = (guint32)parser->at};

  while (parser->at < parser->length && !g_ascii_isspace (text[parser->at]) && text[parser->at]
         && !strchr ("#={}[]\",", text[parser->at]))
    parser->at++;
  node.key_length = (guint32)parser->at - node.key;
  if (node.key_length == 0)
    return FALSE;
  if (take (parser, '{'))
    {
      node.kind = LVM_SECTION;
      return push (parser, add_node (parser, node));
    }
  if (!take (parser, '=') || peek (parser) == 0)
    return FALSE;
  if (take (parser, '['))
    return parse_array (parser, node);
  if (!parse_scalar (parser, &node))
    return FALSE;
  add_node (parser, node);
  return TRUE;
}

gboolean
lvm_text_parse (LvmText *tree, const char *text, gsize length, guint *line)
{
  Parser parser = {.tree = tree, .length = length, .depth = 1};
  LvmNode root = {.kind = LVM_SECTION};
  gboolean ok = TRUE;

  tree->text = text;
  tree->nodes = g_array_new (FALSE, FALSE, sizeof (LvmNode));
  g_array_append_val (tree->nodes, root);
  while (ok && peek (&parser))
    if (!take (&parser, '}'))
      ok = parse_entry (&parser);
    else if (--parser.depth == 0)
      ok = FALSE;
  *line = 1;
  for (gsize i = 0; i < MIN (parser.at, length); i++)
    *line += text[i] == '\n';
  return ok && parser.depth == 1;
}

void
lvm_text_clear (LvmText *tree)
{
  g_clear_pointer (&tree->nodes, g_array_unref);
}

const LvmNode *
lvm_text_root (const LvmText *tree)
{
  return node_at (tree, 0);
}

const LvmNode *
lvm_text_first (const LvmText *tree, const LvmNode *node)
{
  return node->child ? node_at (tree, node->child) : NULL;
}

const LvmNode *
lvm_text_next (const LvmText *tree, const LvmNode *node)
{
  return node->next ? node_at (tree, node->next) : NULL;
}

gboolean
lvm_text_key_is (const LvmText *tree, const LvmNode *node, const char *key)
{
  return strlen (key) == node->key_length
         && memcmp (tree->text + node->key, key, node->key_length) == 0;
}

const LvmNode *
lvm_text_find (const LvmText *tree, const LvmNode *node, const char *key, LvmKind kind)
{
  for (const LvmNode *n = lvm_text_first (tree, node); n; n = lvm_text_next (tree, n))
    if (lvm_text_key_is (tree, n, key))
      return n->kind == kind ? n : NULL;
  return NULL;
}

char *
lvm_text_string (const LvmText *tree, const LvmNode *node)
{
  return g_strndup (tree->text + node->value, node->value_length);
}

char *
lvm_text_key (const LvmText *tree, const LvmNode *node)
{
  return g_strndup (tree->text + node->key, node->key_length);
}

gboolean
lvm_text_number (const LvmText *tree, const LvmNode *node, guint64 max, guint64 *value)
{
  *value = 0;
  if (node->kind != LVM_NUMBER)
    return FALSE;
  for (guint32 i = 0; i < node->value_length; i++)
    {
      char c = tree->text[node->value + i];
      if (!g_ascii_isdigit (c) || *value > (G_MAXUINT64 - 9) / 10)
        return FALSE;
      *value = *value * 10 + (guint64)(c - '0');
    }
  return *value <= max;
}
