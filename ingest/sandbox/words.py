"""The words that invented titles and overviews are made of, in Portuguese and English.

Every row says the same thing in both languages, so that the two texts of one title agree.
Nothing here comes from TMDB: the stand-in must be able to live in a public repository.
"""

from __future__ import annotations

from typing import Final

# Portuguese noun, its gender, English noun.
NOUNS: Final = (
    ("Farol", "m", "Lighthouse"),
    ("Relógio", "m", "Clock"),
    ("Jardim", "m", "Garden"),
    ("Circo", "m", "Circus"),
    ("Moinho", "m", "Mill"),
    ("Barco", "m", "Boat"),
    ("Espelho", "m", "Mirror"),
    ("Trem", "m", "Train"),
    ("Mapa", "m", "Map"),
    ("Sótão", "m", "Attic"),
    ("Rio", "m", "River"),
    ("Carteiro", "m", "Postman"),
    ("Balão", "m", "Balloon"),
    ("Violino", "m", "Violin"),
    ("Padeiro", "m", "Baker"),
    ("Robô", "m", "Robot"),
    ("Ponte", "f", "Bridge"),
    ("Lanterna", "f", "Lantern"),
    ("Biblioteca", "f", "Library"),
    ("Coruja", "f", "Owl"),
    ("Estação", "f", "Station"),
    ("Fábrica", "f", "Factory"),
    ("Orquestra", "f", "Orchestra"),
    ("Sereia", "f", "Mermaid"),
    ("Montanha", "f", "Mountain"),
    ("Feira", "f", "Fair"),
    ("Ilha", "f", "Island"),
    ("Costureira", "f", "Seamstress"),
    ("Bússola", "f", "Compass"),
    ("Cozinha", "f", "Kitchen"),
    ("Nuvem", "f", "Cloud"),
    ("Raposa", "f", "Fox"),
)

# Masculine, feminine, English.
ADJECTIVES: Final = (
    ("Azul", "Azul", "Blue"),
    ("Esquecido", "Esquecida", "Forgotten"),
    ("Teimoso", "Teimosa", "Stubborn"),
    ("Invisível", "Invisível", "Invisible"),
    ("Distraído", "Distraída", "Absent-Minded"),
    ("Dourado", "Dourada", "Golden"),
    ("Emprestado", "Emprestada", "Borrowed"),
    ("Silencioso", "Silenciosa", "Silent"),
    ("Atrasado", "Atrasada", "Belated"),
    ("Flutuante", "Flutuante", "Floating"),
    ("Torto", "Torta", "Crooked"),
    ("Elétrico", "Elétrica", "Electric"),
    ("Sonâmbulo", "Sonâmbula", "Sleepwalking"),
    ("Salgado", "Salgada", "Salty"),
    ("Imaginário", "Imaginária", "Imaginary"),
    ("Vermelho", "Vermelha", "Red"),
    ("Cansado", "Cansada", "Weary"),
    ("Improvável", "Improvável", "Unlikely"),
    ("Encantado", "Encantada", "Enchanted"),
    ("Desafinado", "Desafinada", "Out-of-Tune"),
    ("Gigante", "Gigante", "Giant"),
    ("Tímido", "Tímida", "Shy"),
    ("Noturno", "Noturna", "Nocturnal"),
    ("Remendado", "Remendada", "Patched"),
    ("Vizinho", "Vizinha", "Neighbouring"),
    ("Curioso", "Curiosa", "Curious"),
    ("Submerso", "Submersa", "Sunken"),
    ("Último", "Última", "Last"),
    ("Cinzento", "Cinzenta", "Grey"),
    ("Alegre", "Alegre", "Cheerful"),
)

# Invented place, and the article it takes in Portuguese: na Serra, but em Pedra Mansa.
PLACES: Final = (
    ("Pedra Mansa", ""),
    ("Vila Sereninha", ""),
    ("Baía dos Guizos", "a"),
    ("São Tomilho", ""),
    ("Ribeirão do Sono", ""),
    ("Monte Caramelo", ""),
    ("Porto Ventoinha", ""),
    ("Lagoa Trocada", "a"),
    ("Campo das Agulhas", "o"),
    ("Serra do Bocejo", "a"),
    ("Nova Alfazema", ""),
    ("Ilha Retalho", "a"),
    ("Passo da Neblina", "o"),
    ("Cidade Pião", "a"),
    ("Águas de Vidro", ""),
    ("Três Chaminés", ""),
    ("Vale Assobio", "o"),
    ("Santa Cortiça", ""),
    ("Ponta do Novelo", "a"),
    ("Aldeia Quebra-Vento", "a"),
    ("Morro da Gaita", "o"),
    ("Rua das Sombrinhas", "a"),
    ("Enseada Morna", "a"),
    ("Vargem Miúda", ""),
    ("Alto do Botão", "o"),
    ("Colina Farinha", "a"),
    ("Beira Lume", ""),
    ("Quinta do Eco", "a"),
    ("Cais da Marmelada", "o"),
    ("Planalto Cinza-Claro", "o"),
    ("Largo do Realejo", "o"),
    ("Costa Pandorga", "a"),
    ("Poço das Letras", "o"),
    ("Barra do Trovãozinho", ""),
    ("Travessa Lunar", "a"),
    ("Estreito do Alecrim", "o"),
    ("Cova da Lanterna", "a"),
)

HEROES: Final = (
    ("uma relojoeira aposentada", "a retired clockmaker"),
    ("um detetive míope", "a short-sighted detective"),
    ("um casal de gêmeos", "a pair of twins"),
    ("uma inventora de doze anos", "a twelve-year-old inventor"),
    ("um maestro sem orquestra", "a conductor without an orchestra"),
    ("uma gata que sabe ler", "a cat who can read"),
    ("um motorista de bonde", "a tram driver"),
    ("uma astrônoma insone", "a sleepless astronomer"),
    ("um cozinheiro falido", "a bankrupt cook"),
    ("uma família de acrobatas", "a family of acrobats"),
    ("um robô de segunda mão", "a second-hand robot"),
    ("uma professora de natação", "a swimming teacher"),
    ("um carteiro novato", "a novice postman"),
    ("uma banda de vizinhos", "a band of neighbours"),
    ("um fantasma envergonhado", "a bashful ghost"),
    ("uma bibliotecária destemida", "a fearless librarian"),
)

GOALS: Final = (
    ("tenta reabrir o velho cinema da praça", "tries to reopen the old cinema on the square"),
    ("procura uma carta extraviada há décadas", "looks for a letter lost decades ago"),
    ("promete vencer o concurso de pipas", "vows to win the kite contest"),
    ("esconde um segredo debaixo da escada", "hides a secret under the stairs"),
    ("aposta tudo em uma receita impossível", "stakes everything on an impossible recipe"),
    ("ensina o coral da cidade a cantar", "teaches the town choir to sing"),
    ("constrói um submarino no quintal", "builds a submarine in the backyard"),
    ("recebe por engano a chave de um castelo", "is handed the key of a castle by mistake"),
    ("cuida de um dragão do tamanho de um polegar", "looks after a thumb-sized dragon"),
    ("investiga o sumiço de todos os guarda-chuvas", "investigates the loss of every umbrella"),
    ("atravessa o país em uma bicicleta dupla", "crosses the country on a tandem bicycle"),
    ("abre uma escola para aprendizes de mágico", "opens a school for apprentice magicians"),
    ("herda um hotel que ninguém encontra", "inherits a hotel that nobody can find"),
    ("ganha a vida consertando sonhos alheios", "earns a living mending other people's dreams"),
)

TWISTS: Final = (
    ("o rio resolve mudar de curso", "the river decides to change course"),
    ("os sinos tocam treze vezes", "the bells strike thirteen"),
    ("chega uma visita do futuro", "a visitor arrives from the future"),
    ("as estátuas começam a cochichar", "the statues begin to whisper"),
    ("o prefeito proíbe as gargalhadas", "the mayor bans laughter"),
    ("a neve cai em pleno verão", "snow falls in midsummer"),
    ("um rival antigo bate à porta", "an old rival knocks at the door"),
    ("o trem da meia-noite não para mais", "the midnight train no longer stops"),
    ("todos os espelhos ficam em branco", "all the mirrors go blank"),
    ("a maré devolve um baú trancado", "the tide returns a locked chest"),
    ("uma aposta sai do controle", "a wager gets out of hand"),
    ("o inverno se recusa a terminar", "winter refuses to end"),
)

CLOSINGS: Final = (
    (
        "Para consertar o estrago, será preciso confiar em quem menos se espera.",
        "To mend the damage, trust will have to come from the least likely quarter.",
    ),
    (
        "Nada do que acontece na semana seguinte cabe em um relatório.",
        "Nothing that happens in the following week would fit in a report.",
    ),
    (
        "Entre risos e sustos, cada morador descobre o que deixou para trás.",
        "Between laughs and frights, every neighbour finds what was left behind.",
    ),
    (
        "O que era brincadeira vira a maior aventura da região.",
        "What began as a game becomes the greatest adventure in the region.",
    ),
    (
        "Resta uma única noite para desfazer o mal-entendido.",
        "A single night remains to undo the misunderstanding.",
    ),
    (
        "A verdade, como sempre, estava guardada na gaveta de baixo.",
        "The truth, as ever, had been kept in the bottom drawer.",
    ),
    (
        "Juntos, eles aprendem que coragem também se pede emprestada.",
        "Together they learn that courage, too, can be borrowed.",
    ),
    ("E tudo isso antes do café da manhã.", "And all of this before breakfast."),
)

TAGLINES: Final = (
    ("Nem todo mapa quer ser lido.", "Not every map wants to be read."),
    ("O silêncio também desafina.", "Silence can be out of tune, too."),
    ("Quem perde o trem ganha a história.", "Miss the train, gain the story."),
    ("", ""),
)

# Syllables of the original titles in other languages, two invented words each.
SYLLABLES: Final = {
    "ja": ("カ", "モ", "リ", "ス", "テ", "ラ", "ミ", "ヨ", "ハ", "ナ", "ト"),
    "ko": ("가", "온", "누", "리", "하", "람", "다", "솔", "미", "르", "별", "새"),
    "es": ("ca", "ló", "ren", "dí", "ma", "sue", "tri", "ña", "vel", "go", "pa", "ri"),
    "fr": ("bel", "mé", "rou", "lai", "ciel", "tan", "vè", "do", "lune", "ga", "pré", "çon"),
}

# People of the detail records.
FIRST_NAMES: Final = ("Alba", "Benício", "Clarinda", "Damião", "Elvira", "Faustino", "Guiomar")
SURNAMES: Final = ("Trancoso", "Varejão", "Quintela", "Bragaforte", "Lumiar", "Sapucaia")
